#include "tools/predict/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "backends/predict/fit.h"
#include "backends/predict/op_work.h"
#include "sim/topology/machine.h"
#include "tools/bench/machine.h"
#include "tools/bench/run.h"
#include "tools/predict/measured_cases.h"
#include "tools/predict/score.h"
#include "tp/core/clock.h"
#include "tp/core/random.h"
#include "tp/io/atomic_file.h"
#include "tp/model/linear_step.h"
#include "tp/model/transformer.h"

namespace tp::predict_tool {
namespace {

// How much is measured.
struct Plan {
  int products = 160;
  int64_t most_size = 1024;       // of a product
  int64_t least_bytes = 1024;     // of a collective's array
  int64_t most_bytes = 16 << 20;  // no array of a step is larger
  // Of the steps whose ops are fitted on, and of those that are held out.
  std::vector<int64_t> fit_sizes = {64, 128, 192, 320, 448, 640, 896};
  std::vector<int64_t> step_sizes = {96, 160, 256, 400, 512, 768};
};

Plan PlanOf(const Backend& backend) {
  if (backend.name() == "sim") return {};
  return {.products = 530,
          .most_size = 16384,
          .most_bytes = int64_t{1} << 30,
          .fit_sizes = {768, 1280, 1792, 2560, 3584, 5120, 7168},
          .step_sizes = {1024, 1536, 2048, 3072, 4096, 6144, 8192}};
}

class Calibration {
 public:
  Calibration(Backend& backend, const PredictOptions& options, int world)
      : backend_(backend), options_(options), plan_(PlanOf(backend)), world_(world) {}

  // In rounds, so that what drifts over minutes is in all of it alike.
  Status Measure() {
    const int64_t begin = HostClock().NowNs();
    TP_RETURN_IF_ERROR(PlanAll());
    double round = 0;
    do {
      const int64_t before = HostClock().NowNs();
      for (List* list : {&products_, &programs_, &collectives_, &handovers_, &steps_}) {
        TP_RETURN_IF_ERROR(
            TimeCases(backend_, world_, list->cases, list == &programs_, list->times, &device));
      }
      round = SecondsSince(before);
      ++rounds;
    } while (SecondsSince(begin) + round < options_.calibrate_seconds);
    if (backend_.IsRoot()) KeepAll();
    return OkStatus();
  }

  // What is fitted on, and what is held out.
  predict::Measurements fitted, held_out;
  DeviceInfo device;
  int rounds = 0;
  double handover_us = 0;
  double floor() const { return std::expm1(floors_ / std::max(1, cases_)); }

 private:
  struct List {
    std::vector<TimedCase> cases;
    std::vector<CaseTimes> times;
  };

  static double SecondsSince(int64_t begin_ns) {
    return static_cast<double>(HostClock().NowNs() - begin_ns) * 1e-9;
  }

  template <typename T>
  void Keep(std::vector<T> predict::Measurements::*list, const T& one, const CaseTimes* times) {
    ((predict::IsHeldOut(NameOf(one)) ? held_out : fitted).*list).push_back(one);
    if (times == nullptr) return;
    floors_ += times->Floor();
    ++cases_;
  }

  Status PlanAll() {
    PlanProducts();
    TP_RETURN_IF_ERROR(PlanPrograms());
    if (world_ > 1) PlanCollectives();
    for (bool alone : {true, false}) {
      handovers_.cases.push_back(HandoverCase(options_.engine.dtype, world_, alone));
    }
    return PlanSteps();
  }

  void KeepAll() {
    KeepOps();
    for (size_t i = 0; i < shapes_.size(); ++i) {
      const CaseTimes& times = products_.times[i];
      Keep(&predict::Measurements::products, {options_.engine.dtype, shapes_[i], times.median()},
           &times);
    }
    for (size_t i = 0; i < kinds_.size(); ++i) {
      const CaseTimes& both = collectives_.times[2 * i];
      kinds_[i].us = both.Beyond(collectives_.times[2 * i + 1]).median();
      if (kinds_[i].us <= 0) continue;  // it can't be told from what stands before it
      Keep(&predict::Measurements::collectives, kinds_[i], &both);
    }
    handover_us = std::max(0.0, handovers_.times[1].median() - handovers_.times[0].median());
    // Whole steps are all held out: they are what the rest is for.
    for (size_t i = 0; i < named_steps_.size(); ++i) {
      named_steps_[i].us = steps_.times[i].median();
      held_out.steps.push_back(named_steps_[i]);
    }
  }

  // Sizes at random, alike in their logarithms, and some that are whole numbers of tiles.
  void PlanProducts() {
    const RandomTensor random(7, 0);
    uint64_t drawn = 0;
    const auto size = [&] {
      const double part = (random.Uniform(drawn++) + 1) / 2;
      const auto most = static_cast<double>(plan_.most_size);
      const auto any = static_cast<int64_t>(8 * std::pow(most / 8, part));
      return random.Uniform(drawn++) < 0 ? any : std::max<int64_t>(8, any / 64 * 64);
    };
    for (int i = 0; i < plan_.products; ++i) {
      shapes_.push_back({size(), size(), size()});
      products_.cases.push_back(ProductCase(options_.engine.dtype, shapes_.back(), world_));
    }
  }

  // Of what runs in steps beside products and collectives, as their ops' own times.
  Status PlanPrograms() {
    std::vector<Mesh> meshes;
    for (bool split : {false, true}) {
      TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(split ? world_ : 1, split ? 1 : world_));
      meshes.push_back(mesh);
    }
    for (int64_t features : plan_.fit_sizes) {
      for (const Mesh& mesh : meshes) {
        for (const char* mode : {"row", "column"}) {
          LinearStepOptions linear = LinearOf(mode, features / 2 + 8, features, features);
          linear.tokens *= mesh.Size(Axis::kDp);
          TP_ASSIGN_OR_RETURN(Program program, MakeLinearStep(linear, mesh));
          TP_RETURN_IF_ERROR(AddProgram(std::move(program), mesh));
        }
        TP_ASSIGN_OR_RETURN(Program program, TransformerOf(features, mesh));
        TP_RETURN_IF_ERROR(AddProgram(std::move(program), mesh));
      }
    }
    return OkStatus();
  }

  Status AddProgram(Program program, const Mesh& mesh) {
    TP_ASSIGN_OR_RETURN(TimedCase timed, ProgramCase(program, mesh, backend_.HowToLower()));
    whole_.push_back(std::move(program));
    programs_.cases.push_back(std::move(timed));
    return OkStatus();
  }

  // An op of one size takes what it does in the middle of all steps that have it: its operands are
  // in caches as these leave them.
  void KeepOps() {
    std::map<std::tuple<std::string, DType, double>, std::vector<double>> ops;
    std::map<predict::ProductShape, std::vector<double>> products;
    for (size_t i = 0; i < programs_.cases.size(); ++i) {
      const Schedule& schedule = programs_.cases[i].schedules[0];
      for (size_t op = 0; op < schedule.ops.size(); ++op) {
        if (schedule.ops[op].action == Action::kCollective) continue;
        const predict::OpWork work = predict::WorkOf(whole_[i], schedule, schedule.ops[op]);
        const double us = programs_.times[i].op_median(op);
        if (work.bytes <= 0 || us <= 0) continue;
        if (work.IsProduct()) {
          products[{work.m, work.n, work.k}].push_back(us / static_cast<double>(work.loops));
        } else {
          ops[{std::string(Name(work.action)), work.dtype, work.bytes}].push_back(us);
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

  void PlanCollectives() {
    const DType dtype = options_.engine.dtype;
    for (CollectiveKind kind :
         {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
      // A little less than doubled each time, so that held-out sizes lie between others.
      for (auto bytes = static_cast<double>(plan_.least_bytes);
           bytes <= static_cast<double>(plan_.most_bytes); bytes *= 1.5) {
        const int64_t elements = static_cast<int64_t>(bytes) / SizeOf(dtype) / 8 * 8;
        for (bool alone : {false, true}) {
          collectives_.cases.push_back(CollectiveCase(kind, dtype, elements, world_, alone));
        }
        kinds_.push_back({kind, world_, static_cast<double>(elements * SizeOf(dtype)), 0});
      }
    }
  }

  Status PlanSteps() {
    TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(world_, 1));
    for (const char* mode : {"row", "column"}) {
      for (int64_t in : plan_.step_sizes) {
        for (int64_t out : {in, 2 * in}) {
          const LinearStepOptions linear = LinearOf(mode, in / 2 + 8, in, out);
          TP_ASSIGN_OR_RETURN(const Program program, MakeLinearStep(linear, mesh));
          TP_ASSIGN_OR_RETURN(TimedCase timed, ProgramCase(program, mesh, LowerOptions()));
          steps_.cases.push_back(std::move(timed));
          named_steps_.push_back({mode, linear.dtype, linear.tokens, in, out, world_, 1, 0});
        }
      }
    }
    return OkStatus();
  }

  // A block of a transformer about as wide, whose ops are of all kinds.
  StatusOr<Program> TransformerOf(int64_t features, const Mesh& mesh) const {
    TransformerConfig config;
    config.head_size = 32;
    config.heads = std::max<int64_t>(2, features / config.head_size / 2 * 2);
    config.kv_heads = config.heads / 2;
    config.hidden = config.heads * config.head_size;
    config.ffn = config.hidden * 5 / 2;
    config.vocabulary = 2 * config.hidden;
    config.layers = 1;
    TransformerStepOptions step;
    step.batch = world_;
    step.sequence = std::max<int64_t>(16, features / 2);
    step.dtype = options_.engine.dtype;
    return MakeTransformerStep(config, step, mesh);
  }

  LinearStepOptions LinearOf(const std::string& mode, int64_t tokens, int64_t in,
                             int64_t out) const {
    LinearStepOptions linear;
    linear.mode = mode == "row" ? LinearMode::kRow : LinearMode::kColumn;
    linear.tokens = tokens;
    linear.in_features = in;
    linear.out_features = out;
    linear.dtype = options_.engine.dtype;
    return linear;
  }

  Backend& backend_;
  const PredictOptions& options_;
  const Plan plan_;
  const int world_;
  // Of collectives and handovers two cases for each, of which the difference counts.
  List products_, programs_, collectives_, handovers_, steps_;
  std::vector<predict::ProductShape> shapes_;       // of products_
  std::vector<Program> whole_;                      // of programs_
  std::vector<predict::MeasuredCollective> kinds_;  // of collectives_
  std::vector<predict::MeasuredStep> named_steps_;  // of steps_
  double floors_ = 0;
  int cases_ = 0;
};

// What the fit does not tell: peaks are the most that was reached.
sim::Machine MachineOf(const Calibration& calibration, const Backend& backend, DType dtype,
                       int world) {
  sim::Machine machine;
  const DeviceInfo& device = calibration.device;
  machine.name = device.name.empty() ? backend.name() : device.name;
  machine.source = "calibrated by predict --calibrate --backend=" + backend.name();
  machine.device.name = machine.name;
  machine.device.memory_bytes = std::max<double>(1, static_cast<double>(device.memory_bytes));
  machine.device.multiprocessors = std::max(1, device.multiprocessors);
  double flops = 1, memory = 1, wire = 1, launch = 1e9;
  for (const predict::MeasuredProduct& p : calibration.fitted.products) {
    const double done = 2.0 * static_cast<double>(p.shape.m) * static_cast<double>(p.shape.n) *
                        static_cast<double>(p.shape.k);
    flops = std::max(flops, done / (p.us * 1e-6));
    launch = std::min(launch, p.us);
  }
  for (const predict::MeasuredOp& op : calibration.fitted.ops) {
    memory = std::max(memory, op.bytes / (op.us * 1e-6));
    launch = std::min(launch, op.us);
  }
  for (const predict::MeasuredCollective& c : calibration.fitted.collectives) {
    wire = std::max(wire, c.bytes * BusBandwidthFactor(c.kind, c.members) / (c.us * 1e-6));
  }
  machine.device.flops[dtype] = flops;
  machine.device.memory_bytes_per_second = memory;
  machine.device.launch_us = launch;
  machine.device.handover_us = calibration.handover_us;
  // Where ranks have no second processor, a collective takes the whole one.
  const int processors = bench::ThisMachine().cores;
  if (!device.gpu && processors < 2 * world) machine.device.collective_processors = 1;
  machine.devices_per_node = world;
  const bool gpus = device.gpu;
  machine.within = {gpus ? sim::WithinSpec::Kind::kSwitch : sim::WithinSpec::Kind::kBus,
                    gpus ? wire : wire * world, 1, false};
  return machine;
}

}  // namespace

StatusOr<int> Calibrate(const PredictOptions& options, io::Outputs& outputs) {
  bench::BenchOptions engine = options.engine;
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, bench::MakeBackend(engine));
  bench::FillDefaults(*backend, engine);
  const int world = engine.tp * engine.dp;
  TP_RETURN_IF_ERROR(backend->Check(world, engine.dtype));
  const std::string held_out_path = options.calibrate + kHeldOutEnding;
  if (backend->IsRoot()) {
    TP_RETURN_IF_ERROR(io::CheckWritable(options.calibrate));
    TP_RETURN_IF_ERROR(io::CheckWritable(held_out_path));
  }
  const bench::OtherProcesses others;
  Calibration calibration(*backend, options, world);
  TP_RETURN_IF_ERROR(calibration.Measure());
  if (!backend->IsRoot()) return 0;
  const bench::Machine host = bench::ThisMachine();
  sim::Machine machine = MachineOf(calibration, *backend, engine.dtype, world);
  for (predict::Measurements* m : {&calibration.fitted, &calibration.held_out}) {
    m->when = host.date;
    m->where = fmt::format("{}, {}, {} ranks", host.name, machine.device.name, world);
    m->repeat_floor = calibration.floor();
  }
  predict::Measurements& fitted = calibration.fitted;
  const predict::Fit fit(fitted, machine);
  fitted.product_parameters = fit.ProductParameters();
  outputs.Account(
      io::WriteFileAtomically(options.calibrate, predict::WithFit(sim::ToJson(machine), fitted)));
  outputs.Account(io::WriteFileAtomically(held_out_path, predict::ToJson(calibration.held_out)));
  outputs.Print(fmt::format(
      "fitted on {} products, {} other ops, {} collectives; held out {}, {}, {} and {} steps; "
      "{} rounds\n",
      fitted.products.size(), fitted.ops.size(), fitted.collectives.size(),
      calibration.held_out.products.size(), calibration.held_out.ops.size(),
      calibration.held_out.collectives.size(), calibration.held_out.steps.size(),
      calibration.rounds));
  if (const std::optional<double> share = others.Share(); share && *share > 0.05) {
    outputs.Print(
        fmt::format("other processes took {:.0f} % of this machine meanwhile: measure "
                    "again when it is idle\n",
                    100 * *share));
  }
  TP_ASSIGN_OR_RETURN(const Scored scored, Score(machine, &fit, calibration.held_out));
  outputs.Print("\n" + RenderScore(scored, calibration.held_out));
  return 0;
}

}  // namespace tp::predict_tool
