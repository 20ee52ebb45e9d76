#include "tools/predict/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backends/predict/fit.h"
#include "sim/topology/machine.h"
#include "tools/bench/machine.h"
#include "tools/bench/run.h"
#include "tools/io/progress.h"
#include "tools/predict/calibration.h"
#include "tools/predict/score.h"
#include "tp/core/collective.h"
#include "tp/io/atomic_file.h"

namespace tp::predict_tool {
namespace {

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
  double flops = 1, memory = calibration.copied_per_second, wire = 1, launch = 1e9;
  for (const predict::MeasuredProduct& p : calibration.fitted.products) {
    const double done = 2.0 * static_cast<double>(p.shape.m) * static_cast<double>(p.shape.n) *
                        static_cast<double>(p.shape.k);
    flops = std::max(flops, done / (p.us * 1e-6));
    launch = std::min(launch, p.us);
  }
  if (calibration.copied_per_second == 0) {
    for (const predict::MeasuredOp& op : calibration.FittedOps(calibration.gap_us).ops) {
      memory = std::max(memory, op.bytes / (op.us * 1e-6));
    }
  }
  for (const predict::MeasuredCollective& c : calibration.fitted.collectives) {
    wire = std::max(wire, c.bytes * BusBandwidthFactor(c.kind, c.members) / (c.us * 1e-6));
  }
  machine.device.flops[dtype] = flops;
  machine.device.memory_bytes_per_second = std::max(1.0, memory);
  machine.device.launch_us = launch;
  machine.device.copied_bytes = static_cast<double>(backend.CopiedBytes());
  machine.device.handover_us = calibration.handover_us;
  machine.sum_part_bytes = backend.HowToLower().sum_part_bytes;
  machine.devices_per_node = world;
  const bool gpus = device.gpu;
  machine.within = {gpus ? sim::WithinSpec::Kind::kSwitch : sim::WithinSpec::Kind::kBus,
                    gpus ? wire : wire * world, 1, false};
  return machine;
}

// Two things can't be timed alone: what a collective takes of the processors that others want
// meanwhile, and what lies between an op's end and the next one's beginning in a step whose streams
// wait for each other. They are what brings the fitted steps, which are none of those held out,
// nearest to what they took, with their ops timed: of a coarse grid, then of a fine one around its
// best point.
class FittedSteps {
 public:
  FittedSteps(const Calibration& calibration, sim::Machine& machine)
      : calibration_(calibration), machine_(machine) {
    steps_.steps = calibration.fitted.steps;
    collectives_.collectives = calibration.fitted.collectives;
  }

  Status Find() {
    const double most_gap = 3 + 3 * calibration_.gap_us;
    const double gap_step = most_gap / 12, part_step = 1.0 / 13;
    for (double gap = 0; gap <= most_gap; gap += gap_step) {
      TP_RETURN_IF_ERROR(Try(gap, 0, 1, part_step));
    }
    const Tried around = *Best({});
    for (int i = -4; i <= 4; ++i) {
      TP_RETURN_IF_ERROR(Try(around.gap_us + i * gap_step / 4, around.part - part_step,
                             around.part + part_step, part_step / 4));
    }
    Set(*Best({}));
    return OkStatus();
  }

  // Measurements::step_spread: of each step what the others would have found is asked.
  double Spread() const {
    std::vector<double> off;
    for (size_t step = 0; step < steps_.steps.size(); ++step) {
      off.push_back(Best(step)->errors[step]);
    }
    std::ranges::sort(off);
    const double rank = std::ceil(0.9 * (static_cast<double>(off.size()) + 1));
    return std::exp(off[std::min(off.size(), static_cast<size_t>(rank)) - 1]);
  }

 private:
  struct Tried {
    double gap_us = 0;
    double part = 0;
    std::vector<double> errors;  // by step, of the logarithm
  };

  void Set(const Tried& tried) {
    machine_.device.gap_us = tried.gap_us;
    machine_.device.collective_processors = tried.part;
  }

  // With parts from `first` to below `last`.
  Status Try(double gap, double first, double last, double step) {
    if (gap < 0) return OkStatus();
    predict::Fit fit(collectives_, machine_);
    fit.Take(calibration_.FittedStepOps(gap));
    for (double part = first; part < last; part += step) {
      if (part < 0 || part >= 1) continue;
      Tried tried = {gap, part, {}};
      Set(tried);
      TP_ASSIGN_OR_RETURN(const Scored scored, Score(machine_, &fit, steps_));
      for (const ScorePoint& point : scored.rows.at(0).points) {
        tried.errors.push_back(std::abs(std::log(point.predicted_us / point.measured_us)));
      }
      tried_.push_back(std::move(tried));
    }
    return OkStatus();
  }

  // With the least mean error, of all steps but one.
  std::vector<Tried>::const_iterator Best(std::optional<size_t> but) const {
    return std::ranges::min_element(tried_, {}, [&](const Tried& tried) {
      const double all = std::accumulate(tried.errors.begin(), tried.errors.end(), 0.0);
      return but ? all - tried.errors[*but] : all;
    });
  }

  const Calibration& calibration_;
  sim::Machine& machine_;
  predict::Measurements steps_, collectives_;
  std::vector<Tried> tried_;
};

}  // namespace

StatusOr<int> Calibrate(const PredictOptions& options, io::Outputs& outputs) {
  bench::BenchOptions engine = options.engine;
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, bench::MakeBackend(engine));
  bench::FillDefaults(*backend, engine);
  const int world = engine.tp * engine.dp;
  TP_RETURN_IF_ERROR(backend->Check(world, engine.dtype));
  const std::string held_out_path = options.calibrate + kHeldOutEnding;
  const std::string ops_path = options.calibrate + kOpsEnding;
  if (backend->IsRoot()) {
    for (const std::string& path : {options.calibrate, held_out_path, ops_path}) {
      TP_RETURN_IF_ERROR(io::CheckWritable(path));
    }
  }
  const bench::OtherProcesses others;
  std::optional<io::Progress> progress;
  if (backend->IsRoot()) progress.emplace(io::Progress::Options{.tool = "predict"});
  Calibration calibration(*backend, options, world, progress ? &*progress : nullptr);
  TP_RETURN_IF_ERROR(calibration.Measure());
  if (!backend->IsRoot()) return 0;
  const bench::Machine host = bench::ThisMachine();
  sim::Machine machine = MachineOf(calibration, *backend, engine.dtype, world);
  FittedSteps steps(calibration, machine);
  TP_RETURN_IF_ERROR(steps.Find());
  calibration.KeepOps(machine.device.gap_us);
  for (predict::Measurements* m :
       {&calibration.fitted, &calibration.held_out, &calibration.step_ops}) {
    m->when = host.date;
    m->where = fmt::format("{}, {}, {} ranks", host.name, machine.device.name, world);
    m->repeat_floor = calibration.floor();
  }
  predict::Measurements& fitted = calibration.fitted;
  fitted.step_spread = steps.Spread();
  predict::Fit fit(fitted, machine);
  fitted.product_parameters = fit.ProductParameters();
  outputs.Account(
      io::WriteFileAtomically(options.calibrate, predict::WithFit(sim::ToJson(machine), fitted)));
  outputs.Account(io::WriteFileAtomically(held_out_path, predict::ToJson(calibration.held_out)));
  outputs.Account(io::WriteFileAtomically(ops_path, predict::ToJson(calibration.step_ops)));
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
  outputs.Print("\n" + RenderScore(scored, calibration.held_out, /*each=*/false));
  fit.Take(calibration.step_ops);
  predict::Measurements held_out_steps;
  held_out_steps.steps = calibration.held_out.steps;
  held_out_steps.repeat_floor = calibration.held_out.repeat_floor;
  TP_ASSIGN_OR_RETURN(const Scored timed, Score(machine, &fit, held_out_steps));
  outputs.Print("\nthe same steps, their ops timed\n\n" +
                RenderScore(timed, held_out_steps, /*each=*/false));
  return 0;
}

}  // namespace tp::predict_tool
