#include "tools/predict/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "backends/predict/fit.h"
#include "sim/topology/machine.h"
#include "tools/bench/machine.h"
#include "tools/bench/run.h"
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
  for (const predict::MeasuredOp& op : calibration.fitted.ops) {
    if (calibration.copied_per_second == 0) memory = std::max(memory, op.bytes / (op.us * 1e-6));
  }
  for (const predict::MeasuredCollective& c : calibration.fitted.collectives) {
    wire = std::max(wire, c.bytes * BusBandwidthFactor(c.kind, c.members) / (c.us * 1e-6));
  }
  machine.device.flops[dtype] = flops;
  machine.device.memory_bytes_per_second = std::max(1.0, memory);
  machine.device.launch_us = launch;
  machine.device.handover_us = calibration.handover_us;
  machine.sum_part_bytes = backend.HowToLower().sum_part_bytes;
  machine.devices_per_node = world;
  const bool gpus = device.gpu;
  machine.within = {gpus ? sim::WithinSpec::Kind::kSwitch : sim::WithinSpec::Kind::kBus,
                    gpus ? wire : wire * world, 1, false};
  return machine;
}

// How far off whole steps are.
StatusOr<double> StepsError(const sim::Machine& machine, const predict::Fit& fit,
                            const predict::Measurements& steps) {
  TP_ASSIGN_OR_RETURN(const Scored scored, Score(machine, &fit, steps));
  return scored.rows.empty() ? 0 : scored.rows[0].geomean;
}

// What a collective takes of the processors that others want meanwhile can't be timed alone: it is
// what brings the fitted steps, which are none of those held out, nearest to what they took.
Status FindShareOfCollectives(const predict::Fit& fit, const predict::Measurements& fitted,
                              sim::Machine& machine) {
  predict::Measurements steps;
  steps.steps = fitted.steps;
  double least = std::numeric_limits<double>::infinity(), best = 0;
  constexpr int kSteps = 50;
  for (int step = 0; step < kSteps; ++step) {
    const double part = static_cast<double>(step) / kSteps;
    machine.device.collective_processors = part;
    TP_ASSIGN_OR_RETURN(const double error, StepsError(machine, fit, steps));
    if (error >= least) continue;
    least = error;
    best = part;
  }
  machine.device.collective_processors = best;
  return OkStatus();
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
  TP_RETURN_IF_ERROR(FindShareOfCollectives(fit, fitted, machine));
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
  outputs.Print("\n" + RenderScore(scored, calibration.held_out, /*each=*/false));
  return 0;
}

}  // namespace tp::predict_tool
