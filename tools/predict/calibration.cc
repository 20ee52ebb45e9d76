#include "tools/predict/calibration.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "tp/core/clock.h"
#include "tp/core/random.h"
#include "tp/model/linear_step.h"
#include "tp/model/transformer.h"

namespace tp::predict_tool {
namespace {

CalibrationPlan PlanOf(const Backend& backend) {
  if (backend.name() == "sim") return {};
  return {.products = 330,
          .multiple = 8,  // 16 bytes of bf16, without which cuBLASLt has slow kernels alone
          .most_size = 16384,
          .most_bytes = int64_t{256} << 20,
          .fit_sizes = {768, 1280, 1792, 2560, 3584, 5120, 7168},
          .step_sizes = {1024, 1536, 2048, 3072, 4096, 6144, 8192}};
}

double SecondsSince(int64_t begin_ns) {
  return static_cast<double>(HostClock().NowNs() - begin_ns) * 1e-9;
}

LinearStepOptions LinearOf(DType dtype, const std::string& mode, int64_t in, int64_t out) {
  LinearStepOptions linear;
  linear.mode = mode == "row" ? LinearMode::kRow : LinearMode::kColumn;
  linear.tokens = in / 2 + 8;
  linear.in_features = in;
  linear.out_features = out;
  linear.dtype = dtype;
  return linear;
}

// A block of a transformer about as wide, whose ops are of all kinds.
StatusOr<Program> TransformerOf(DType dtype, int64_t features, const Mesh& mesh) {
  TransformerConfig config;
  config.head_size = 32;
  config.heads = std::max<int64_t>(2, features / config.head_size / 2 * 2);
  config.kv_heads = config.heads / 2;
  config.hidden = config.heads * config.head_size;
  config.ffn = config.hidden * 5 / 2;
  config.vocabulary = 2 * config.hidden;
  config.layers = 1;
  TransformerStepOptions step;
  step.batch = mesh.world();
  step.sequence = std::max<int64_t>(16, features / 2);
  step.dtype = dtype;
  return MakeTransformerStep(config, step, mesh);
}

}  // namespace

std::vector<double> ShareTimes(const Schedule& schedule, const std::vector<predict::OpWork>& works,
                               const std::vector<double>& us, double gap_us) {
  std::vector<double> shares(us.size());
  std::array<std::vector<size_t>, kMostStreams> without;  // time, on their streams
  for (size_t op = 0; op < us.size(); ++op) {
    if (schedule.ops[op].action == Action::kCollective) continue;
    std::vector<size_t>& together = without[static_cast<int>(schedule.ops[op].stream)];
    if (works[op].IsProduct()) together.clear();  // it does nobody else's work
    together.push_back(op);
    if (us[op] <= 0) continue;
    double bytes = 0;
    for (size_t member : together) bytes += works[member].bytes;
    for (size_t member : together) {
      if (bytes > 0) shares[member] = (us[op] + gap_us) * works[member].bytes / bytes;
    }
    together.clear();
  }
  return shares;
}

Calibration::Calibration(Backend& backend, const PredictOptions& options, int world)
    : backend_(backend), options_(options), plan_(PlanOf(backend)), world_(world) {}

double Calibration::floor() const { return std::expm1(floors_ / std::max(1, cases_)); }

Status Calibration::Measure() {
  const int64_t begin = HostClock().NowNs();
  TP_RETURN_IF_ERROR(PlanAll());
  double round = 0;
  do {
    const int64_t before = HostClock().NowNs();
    for (List* list : {&products_, &alone_, &collectives_, &handovers_, &fitted_steps_.list,
                       &held_out_steps_.list}) {
      const int64_t began = HostClock().NowNs();
      TP_RETURN_IF_ERROR(
          TimeCases(backend_, world_, list->cases, list == &alone_, list->times, &device));
      VLOG(1) << list->cases.size() << " cases took " << SecondsSince(began) << " s";
    }
    round = SecondsSince(before);
    ++rounds;
  } while (SecondsSince(begin) + round < options_.calibrate_seconds);
  if (backend_.IsRoot()) KeepAll();
  return OkStatus();
}

template <typename T>
void Calibration::Keep(std::vector<T> predict::Measurements::*list, const T& one,
                       const CaseTimes* times) {
  ((predict::IsHeldOut(NameOf(one)) ? held_out : fitted).*list).push_back(one);
  if (times == nullptr) return;
  floors_ += times->Floor();
  ++cases_;
}

Status Calibration::PlanAll() {
  PlanProducts();
  TP_RETURN_IF_ERROR(PlanPrograms());
  if (world_ > 1) PlanCollectives();
  for (bool alone : {true, false}) {
    handovers_.cases.push_back(HandoverCase(options_.engine.dtype, world_, alone));
  }
  return PlanSteps();
}

// Sizes at random, alike in their logarithms, and some that are whole numbers of tiles; operands
// that lie as those of a linear layer's products do.
void Calibration::PlanProducts() {
  const RandomTensor random(7, 0);
  uint64_t drawn = 0;
  const auto size = [&] {
    const double part = (random.Uniform(drawn++) + 1) / 2;
    const auto most = static_cast<double>(plan_.most_size);
    const auto any = static_cast<int64_t>(8 * std::pow(most / 8, part));
    const int64_t multiple = random.Uniform(drawn++) < 0 ? plan_.multiple : 64;
    return std::max<int64_t>(8, any / multiple * multiple);
  };
  for (int i = 0; i < plan_.products; ++i) {
    const int64_t m = size(), n = size(), k = size();
    shapes_.push_back({m, n, k, /*a_turned=*/i % 3 == 2, /*b_turned=*/i % 3 == 1});
    products_.cases.push_back(ProductCase(options_.engine.dtype, shapes_.back(), world_));
  }
}

void Calibration::PlanCollectives() {
  const DType dtype = options_.engine.dtype;
  for (CollectiveKind kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
    // A little less than doubled each time, so that held-out sizes lie between others; parts of 64
    // bytes and their multiples, as rows mostly are.
    for (auto bytes = static_cast<double>(plan_.least_bytes);
         bytes <= static_cast<double>(plan_.most_bytes); bytes *= 1.5) {
      const int64_t whole = int64_t{64} * world_;
      const int64_t aligned = std::max(whole, static_cast<int64_t>(bytes) / whole * whole);
      const int64_t elements = aligned / SizeOf(dtype);
      for (bool alone : {false, true}) {
        collectives_.cases.push_back(CollectiveCase(kind, dtype, elements, world_, alone));
      }
      kinds_.push_back({kind, world_, static_cast<double>(aligned), 0});
    }
  }
}

// Of what runs in steps beside collectives, as their ops' own times. Each rank has such a program
// for itself: what an op takes beside a collective is the replay's to say. The linear steps are one
// rank's part of a sharded one.
Status Calibration::PlanPrograms() {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(1, 1));
  for (int64_t features : plan_.fit_sizes) {
    const int64_t part = std::max<int64_t>(8, features / world_ / 8 * 8);
    for (const auto& [in, out] : {std::pair(part, features), std::pair(features, part)}) {
      LinearStepOptions linear = LinearOf(options_.engine.dtype, "row", in, out);
      linear.tokens = features / 2 + 8;
      TP_ASSIGN_OR_RETURN(programs_.emplace_back(), MakeLinearStep(linear, mesh));
    }
    TP_ASSIGN_OR_RETURN(programs_.emplace_back(),
                        TransformerOf(options_.engine.dtype, features, mesh));
  }
  for (const Program& program : programs_) {
    TP_ASSIGN_OR_RETURN(TimedCase timed, ProgramCase(program, mesh, world_, backend_.HowToLower()));
    alone_.cases.push_back(std::move(timed));
  }
  return OkStatus();
}

Status Calibration::AddStep(Steps& steps, const char* mode, int64_t in, int64_t out,
                            const Mesh& mesh) {
  LinearStepOptions linear = LinearOf(options_.engine.dtype, mode, in, out);
  linear.tokens *= mesh.Size(Axis::kDp);
  TP_ASSIGN_OR_RETURN(const Program program, MakeLinearStep(linear, mesh));
  TP_ASSIGN_OR_RETURN(TimedCase timed, ProgramCase(program, mesh, world_, backend_.HowToLower()));
  steps.list.cases.push_back(std::move(timed));
  steps.named.push_back(
      {mode, linear.dtype, linear.tokens, in, out, mesh.Size(Axis::kTp), mesh.Size(Axis::kDp), 0});
  return OkStatus();
}

Status Calibration::PlanSteps() {
  TP_ASSIGN_OR_RETURN(const Mesh tensor, Mesh::Create(world_, 1));
  TP_ASSIGN_OR_RETURN(const Mesh data, Mesh::Create(1, world_));
  for (int64_t size : plan_.fit_sizes) {
    for (const char* mode : {"row", "column"}) {
      TP_RETURN_IF_ERROR(AddStep(fitted_steps_, mode, size, size, tensor));
    }
    TP_RETURN_IF_ERROR(AddStep(fitted_steps_, "row", size, size, data));
  }
  for (const char* mode : {"row", "column"}) {
    for (int64_t in : plan_.step_sizes) {
      for (int64_t out : {in, 2 * in}) {
        TP_RETURN_IF_ERROR(AddStep(held_out_steps_, mode, in, out, tensor));
      }
    }
  }
  return OkStatus();
}

void Calibration::KeepAll() {
  FindGap();
  KeepOps();
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const CaseTimes& times = products_.times[i];
    Keep(&predict::Measurements::products, {options_.engine.dtype, shapes_[i], times.median()},
         &times);
  }
  KeepCollectives();
  handover_us = std::max(0.0, handovers_.times[1].median() - handovers_.times[0].median());
  for (auto [steps, kept] :
       {std::pair(&fitted_steps_, &fitted), std::pair(&held_out_steps_, &held_out)}) {
    for (size_t i = 0; i < steps->named.size(); ++i) {
      steps->named[i].us = steps->list.times[i].median();
      kept->steps.push_back(steps->named[i]);
    }
  }
}

// What a step of one rank takes beside its ops, which run one after the other, for each op that
// takes time. Of the smaller half of the programs: of the others little errors are larger than it.
void Calibration::FindGap() {
  std::vector<double> gaps;
  for (size_t i = 0; i < programs_.size(); ++i) {
    const CaseTimes& times = alone_.times[i];
    double sum = 0, count = 0;
    for (size_t op = 0; op < times.ops_us.size(); ++op) {
      const double us = times.op_median(op);
      sum += us;
      count += us > 0;
    }
    VLOG(1) << "a step of " << count << " ops takes " << times.median() << " us, they " << sum;
    const bool small = 2 * i < programs_.size() + 1;
    if (small && count > 0) gaps.push_back((times.median() - sum) / count);
  }
  gap_us = std::max(0.0, Median(gaps));
}

// An op of one size takes what it does in the middle of all programs that have it: its operands are
// in caches as these leave them.
void Calibration::KeepOps() {
  std::map<std::tuple<std::string, DType, double>, std::vector<double>> ops;
  std::map<predict::ProductShape, std::vector<double>> products;
  for (size_t i = 0; i < programs_.size(); ++i) {
    const Schedule& schedule = alone_.cases[i].schedules[0];
    std::vector<predict::OpWork> works(schedule.ops.size());
    std::vector<double> times(schedule.ops.size());
    for (size_t op = 0; op < schedule.ops.size(); ++op) {
      if (schedule.ops[op].action == Action::kCollective) continue;
      works[op] = predict::WorkOf(programs_[i], schedule, schedule.ops[op]);
      times[op] = alone_.times[i].op_median(op);
    }
    const std::vector<double> us = ShareTimes(schedule, works, times, gap_us);
    for (size_t op = 0; op < us.size(); ++op) {
      const predict::OpWork& work = works[op];
      VLOG(2) << "program " << i << ": " << schedule.ops[op].name << ", "
              << Name(schedule.ops[op].action) << " of " << work.bytes << " bytes: " << times[op]
              << " us, " << us[op] << " as shared";
      if (us[op] <= 0) continue;
      if (work.IsProduct()) {
        products[work.product].push_back(us[op] / static_cast<double>(work.loops));
      } else {
        ops[{std::string(Name(work.action)), work.dtype, work.bytes}].push_back(us[op]);
      }
    }
  }
  for (const auto& [key, us] : ops) {
    const auto& [action, dtype, bytes] = key;
    Keep(&predict::Measurements::ops, {action, dtype, bytes, Median(us)}, nullptr);
  }
  for (const auto& [shape, us] : products) {
    Keep(&predict::Measurements::products, {options_.engine.dtype, shape, Median(us)}, nullptr);
  }
}

void Calibration::KeepCollectives() {
  for (size_t i = 0; i < kinds_.size(); ++i) {
    const CaseTimes& both = collectives_.times[2 * i];
    const CaseTimes& alone = collectives_.times[2 * i + 1];
    kinds_[i].us = both.Beyond(alone).median();
    if (kinds_[i].kind == CollectiveKind::kAllReduce) {  // the whole array was copied; last, most
      copied_per_second = 2 * kinds_[i].bytes / (alone.median() * 1e-6);
    }
    if (kinds_[i].us <= 0) continue;  // it can't be told from what stands before it
    Keep(&predict::Measurements::collectives, kinds_[i], &both);
  }
}

}  // namespace tp::predict_tool
