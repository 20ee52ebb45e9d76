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
#include "tp/core/random.h"
#include "tp/io/atomic_file.h"
#include "tp/model/linear_step.h"
#include "tp/model/transformer.h"

namespace tp::predict_tool {
namespace {

// How much is measured.
struct Plan {
  int products = 120;
  int64_t most_size = 1024;      // of a product
  int64_t most_bytes = 8 << 20;  // of a collective's array
  std::vector<int64_t> step_sizes = {96, 160, 256, 400, 512, 768};
};

Plan PlanOf(const Backend& backend) {
  if (backend.name() == "sim") return {};
  return {.products = 530,
          .most_size = 16384,
          .most_bytes = int64_t{1} << 30,
          .step_sizes = {1024, 1536, 2048, 3072, 4096, 6144, 8192}};
}

class Calibration {
 public:
  Calibration(Backend& backend, const PredictOptions& options, int world)
      : backend_(backend), options_(options), plan_(PlanOf(backend)), world_(world) {}

  Status Measure() {
    TP_RETURN_IF_ERROR(MeasureProducts());
    TP_RETURN_IF_ERROR(MeasureOps());
    if (world_ > 1) TP_RETURN_IF_ERROR(MeasureCollectives());
    return MeasureSteps();
  }

  // What is fitted on, and what is held out.
  predict::Measurements fitted, held_out;
  DeviceInfo device;
  double floor() const { return std::expm1(floors_ / std::max(1, cases_)); }

 private:
  template <typename T>
  void Keep(std::vector<T> predict::Measurements::*list, const T& one, const CaseTimes* times) {
    ((predict::IsHeldOut(NameOf(one)) ? held_out : fitted).*list).push_back(one);
    if (times == nullptr) return;
    floors_ += times->Floor();
    ++cases_;
  }

  StatusOr<std::vector<CaseTimes>> Time(const std::vector<TimedCase>& cases, bool ops = false) {
    return TimeCases(backend_, world_, cases, ops, &device);
  }

  // Sizes at random, alike in their logarithms, and some that are whole numbers of tiles.
  Status MeasureProducts() {
    const DType dtype = options_.engine.dtype;
    const RandomTensor random(7, 0);
    uint64_t drawn = 0;
    const auto size = [&] {
      const double part = (random.Uniform(drawn++) + 1) / 2;
      const auto most = static_cast<double>(plan_.most_size);
      const auto any = static_cast<int64_t>(8 * std::pow(most / 8, part));
      return random.Uniform(drawn++) < 0 ? any : std::max<int64_t>(8, any / 64 * 64);
    };
    std::vector<predict::ProductShape> shapes;
    std::vector<TimedCase> cases;
    for (int i = 0; i < plan_.products; ++i) {
      shapes.push_back({size(), size(), size()});
      cases.push_back(ProductCase(dtype, shapes.back(), world_));
    }
    TP_ASSIGN_OR_RETURN(const std::vector<CaseTimes> times, Time(cases));
    for (size_t i = 0; i < times.size(); ++i) {
      const predict::MeasuredProduct one = {dtype, shapes[i], times[i].median()};
      Keep(&predict::Measurements::products, one, &times[i]);
    }
    return OkStatus();
  }

  // Of what runs in steps beside products and collectives, as their ops' own times.
  Status MeasureOps() {
    TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(1, world_));
    std::vector<Program> programs;
    for (int64_t features : plan_.step_sizes) {
      LinearStepOptions linear = LinearOf("row", features, features, features);
      linear.tokens *= world_;
      TP_ASSIGN_OR_RETURN(Program program, MakeLinearStep(linear, mesh));
      programs.push_back(std::move(program));
      TP_ASSIGN_OR_RETURN(program, TransformerOf(features, mesh));
      programs.push_back(std::move(program));
    }
    std::vector<TimedCase> cases;
    for (const Program& program : programs) {
      TP_ASSIGN_OR_RETURN(TimedCase timed, ProgramCase(program, mesh, backend_.HowToLower()));
      cases.push_back(std::move(timed));
    }
    TP_ASSIGN_OR_RETURN(const std::vector<CaseTimes> times, Time(cases, /*ops=*/true));
    std::map<std::tuple<std::string, DType, double>, double> ops;
    for (size_t i = 0; i < times.size(); ++i) {
      const Schedule& schedule = cases[i].schedules[0];
      for (size_t op = 0; op < schedule.ops.size(); ++op) {
        if (schedule.ops[op].action == Action::kCollective) continue;
        const predict::OpWork work = predict::WorkOf(programs[i], schedule, schedule.ops[op]);
        const double us = times[i].op_median(op);
        if (work.IsProduct() || work.bytes <= 0 || us <= 0) continue;
        ops[{std::string(Name(work.action)), work.dtype, work.bytes}] = us;
      }
    }
    for (const auto& [key, us] : ops) {
      const auto& [action, dtype, bytes] = key;
      Keep(&predict::Measurements::ops, {action, dtype, bytes, us}, nullptr);
    }
    return OkStatus();
  }

  Status MeasureCollectives() {
    const DType dtype = options_.engine.dtype;
    std::vector<predict::MeasuredCollective> ones;
    std::vector<TimedCase> cases;
    for (CollectiveKind kind :
         {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
      // A little more than doubled each time, so that held-out sizes lie between others.
      for (double bytes = 1024; bytes <= static_cast<double>(plan_.most_bytes); bytes *= 1.7) {
        const int64_t elements = static_cast<int64_t>(bytes) / SizeOf(dtype) / 8 * 8;
        cases.push_back(CollectiveCase(kind, dtype, elements, world_));
        ones.push_back({kind, world_, static_cast<double>(elements * SizeOf(dtype)), 0});
      }
    }
    TP_ASSIGN_OR_RETURN(const std::vector<CaseTimes> times, Time(cases));
    for (size_t i = 0; i < times.size(); ++i) {
      ones[i].us = times[i].median();
      Keep(&predict::Measurements::collectives, ones[i], &times[i]);
    }
    return OkStatus();
  }

  // Whole steps are all held out: they are what the rest is for.
  Status MeasureSteps() {
    std::vector<predict::MeasuredStep> steps;
    std::vector<TimedCase> cases;
    for (const char* mode : {"row", "column"}) {
      for (size_t i = 0; i < plan_.step_sizes.size(); ++i) {
        for (bool wide : {false, true}) {
          const int64_t in = plan_.step_sizes[i];
          const int64_t out = wide ? 2 * in : in;
          const LinearStepOptions linear = LinearOf(mode, in / 2 + 8, in, out);
          TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(world_, 1));
          TP_ASSIGN_OR_RETURN(const Program program, MakeLinearStep(linear, mesh));
          TP_ASSIGN_OR_RETURN(TimedCase timed, ProgramCase(program, mesh, LowerOptions()));
          cases.push_back(std::move(timed));
          steps.push_back({mode, linear.dtype, linear.tokens, in, out, world_, 1, 0});
        }
      }
    }
    TP_ASSIGN_OR_RETURN(const std::vector<CaseTimes> times, Time(cases));
    for (size_t i = 0; i < times.size(); ++i) {
      steps[i].us = times[i].median();
      held_out.steps.push_back(steps[i]);
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
  const std::string held_out_path = options.calibrate + ".heldout.json";
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
      "fitted on {} products, {} other ops, {} collectives; held out {}, {}, {} and {} steps\n",
      fitted.products.size(), fitted.ops.size(), fitted.collectives.size(),
      calibration.held_out.products.size(), calibration.held_out.ops.size(),
      calibration.held_out.collectives.size(), calibration.held_out.steps.size()));
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
