#include "tools/predict/calibration.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "tp/core/clock.h"
#include "tp/core/random.h"
#include "tp/model/linear_step.h"
#include "tp/model/transformer.h"

namespace tp::predict_tool {
namespace {

CalibrationPlan PlanOf(const Backend& backend) {
  if (backend.name() == "sim") return {};
  return {.products = 200,
          .multiple = 8,  // 16 bytes of bf16, without which cuBLASLt has slow kernels alone
          .most_size = 16384,
          .most_bytes = int64_t{256} << 20,
          .fit_sizes = {768, 1280, 1792, 2560, 3584, 5120, 7168},
          .step_sizes = {1024, 1536, 2048, 3072, 4096, 6144, 8192},
          .linear_programs = 48,
          .least_features = 384,
          .most_features = 8192};
}

// At random, alike in their logarithms; half of them whole numbers of tiles.
class Sizes {
 public:
  Sizes(uint64_t seed, int64_t multiple) : random_(seed, 0), multiple_(multiple) {}
  int64_t Next(int64_t least, int64_t most) {
    const double part = (random_.Uniform(drawn_++) + 1) / 2;
    const double times = static_cast<double>(most) / static_cast<double>(least);
    const auto any = static_cast<int64_t>(static_cast<double>(least) * std::pow(times, part));
    const int64_t multiple = random_.Uniform(drawn_++) < 0 ? multiple_ : 64;
    return std::max<int64_t>(8, any / multiple * multiple);
  }

 private:
  const RandomTensor random_;
  const int64_t multiple_;
  uint64_t drawn_ = 0;
};

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

Calibration::Calibration(Backend& backend, const PredictOptions& options, int world,
                         io::Progress* progress)
    : backend_(backend),
      options_(options),
      plan_(PlanOf(backend)),
      world_(world),
      progress_(progress) {}

double Calibration::floor() const { return std::expm1(floors_ / std::max(1, cases_)); }

Status Calibration::Measure() {
  const int64_t begin = HostClock().NowNs();
  TP_RETURN_IF_ERROR(PlanAll());
  double round = 0;
  do {
    const int64_t before = HostClock().NowNs();
    TP_RETURN_IF_ERROR(TimeCases(
        backend_, world_,
        {&products_, &collectives_, &handovers_, &fitted_steps_.list, &held_out_steps_.list,
         &program_ops_.list(), &fitted_ops_.list(), &held_out_ops_.list()},
        &device, progress_));
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

// Operands lie as those of a linear layer's products do.
void Calibration::PlanProducts() {
  Sizes sizes(7, plan_.multiple);
  for (int i = 0; i < plan_.products; ++i) {
    const auto size = [&] { return sizes.Next(8, plan_.most_size); };
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

// Of what runs in steps beside collectives: a rank's part of linear steps, and blocks of
// transformers for the ops of all kinds.
Status Calibration::PlanPrograms() {
  const LowerOptions lower = backend_.HowToLower();
  TP_ASSIGN_OR_RETURN(const Mesh one, Mesh::Create(1, 1));
  for (int64_t features : plan_.fit_sizes) {
    TP_ASSIGN_OR_RETURN(Program block, TransformerOf(options_.engine.dtype, features, one));
    TP_RETURN_IF_ERROR(program_ops_.Add(std::move(block), one, world_, lower));
  }
  TP_ASSIGN_OR_RETURN(const Mesh tensor, Mesh::Create(world_, 1));
  Sizes sizes(11, plan_.multiple * world_);  // so that those of shards are multiples, too
  for (int i = 0; i < plan_.linear_programs; ++i) {
    const auto size = [&] { return sizes.Next(plan_.least_features, plan_.most_features); };
    const int64_t out = size(), in = size();
    LinearStepOptions linear =
        LinearOf(options_.engine.dtype, i % 2 == 0 ? "row" : "column", in, out);
    linear.tokens = size();
    TP_ASSIGN_OR_RETURN(Program program, MakeLinearStep(linear, tensor));
    TP_RETURN_IF_ERROR(program_ops_.Add(std::move(program), tensor, world_, lower));
  }
  return OkStatus();
}

Status Calibration::AddStep(Steps& steps, ProgramOps& ops, const char* mode, int64_t in,
                            int64_t out, const Mesh& mesh) {
  LinearStepOptions linear = LinearOf(options_.engine.dtype, mode, in, out);
  linear.tokens *= mesh.Size(Axis::kDp);
  const LowerOptions lower = backend_.HowToLower();
  TP_ASSIGN_OR_RETURN(Program program, MakeLinearStep(linear, mesh));
  TP_ASSIGN_OR_RETURN(TimedCase timed, ProgramCase(program, mesh, world_, lower));
  steps.list.cases.push_back(std::move(timed));
  steps.named.push_back(
      {mode, linear.dtype, linear.tokens, in, out, mesh.Size(Axis::kTp), mesh.Size(Axis::kDp), 0});
  return ops.Add(std::move(program), mesh, world_, lower);
}

Status Calibration::PlanSteps() {
  TP_ASSIGN_OR_RETURN(const Mesh tensor, Mesh::Create(world_, 1));
  TP_ASSIGN_OR_RETURN(const Mesh data, Mesh::Create(1, world_));
  for (int64_t size : plan_.fit_sizes) {
    for (const char* mode : {"row", "column"}) {
      TP_RETURN_IF_ERROR(AddStep(fitted_steps_, fitted_ops_, mode, size, size, tensor));
    }
    TP_RETURN_IF_ERROR(AddStep(fitted_steps_, fitted_ops_, "row", size, size, data));
  }
  for (const char* mode : {"row", "column"}) {
    for (int64_t in : plan_.step_sizes) {
      for (int64_t out : {in, 2 * in}) {
        TP_RETURN_IF_ERROR(AddStep(held_out_steps_, held_out_ops_, mode, in, out, tensor));
      }
    }
  }
  return OkStatus();
}

void Calibration::KeepAll() {
  gap_us = program_ops_.GapUs();
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

predict::Measurements Calibration::FittedStepOps(double gap) const {
  return fitted_ops_.Measured(gap);
}

predict::Measurements Calibration::FittedOps(double gap) const {
  ProgramOps all = fitted_ops_;
  all.Append(program_ops_);
  return all.Measured(gap);
}

void Calibration::KeepOps(double gap) {
  const predict::Measurements measured = FittedOps(gap);
  for (const predict::MeasuredOp& op : measured.ops) {
    Keep(&predict::Measurements::ops, op, nullptr);
  }
  for (const predict::MeasuredProduct& product : measured.products) {
    Keep(&predict::Measurements::products, product, nullptr);
  }
  step_ops = held_out_ops_.Measured(gap);
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
