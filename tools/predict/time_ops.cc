#include "tools/predict/time_ops.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "tools/bench/machine.h"
#include "tools/bench/run.h"
#include "tools/io/memory.h"
#include "tools/io/progress.h"
#include "tools/predict/plan.h"
#include "tools/predict/program_ops.h"
#include "tools/predict/score.h"
#include "tp/core/clock.h"

namespace tp::predict_tool {
namespace {

constexpr int kWorld = 1;
constexpr int64_t kLayers = 2;

Status AddAsked(const PredictOptions& options, const LowerOptions& lower, ProgramOps& ops) {
  const Config config = {.tp = std::max(1, options.engine.tp),
                         .dp = options.engine.dp,
                         .sequence_parallel = options.step.sequence_parallel,
                         .recompute = options.step.recompute};
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(config.tp, config.dp));
  for (LinearMode mode : options.engine.modes) {
    PredictOptions one = options;
    one.engine.modes = {mode};
    TP_ASSIGN_OR_RETURN(Program program, MakeStep(one, StepOf(one, config), mesh, kLayers));
    TP_RETURN_IF_ERROR(ops.Add(std::move(program), mesh, kWorld, lower));
    if (!options.model.empty()) break;
  }
  return OkStatus();
}

Status AddScored(const predict::Measurements& scored, const LowerOptions& lower, ProgramOps& ops) {
  for (const predict::MeasuredStep& step : scored.steps) {
    TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(step.tp, step.dp));
    TP_ASSIGN_OR_RETURN(Program program, MakeStep(step, mesh));
    TP_RETURN_IF_ERROR(ops.Add(std::move(program), mesh, kWorld, lower));
  }
  return OkStatus();
}

}  // namespace

StatusOr<predict::Measurements> TimeOps(const PredictOptions& options, const sim::Machine& machine,
                                        const predict::Measurements* scored) {
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, bench::MakeBackend(options.engine));
  LowerOptions lower = backend->HowToLower();
  const int64_t asked = options.engine.sum_part_bytes;
  lower.sum_part_bytes = asked >= 0 ? asked : machine.sum_part_bytes;
  ProgramOps ops;
  TP_RETURN_IF_ERROR(scored == nullptr ? AddAsked(options, lower, ops)
                                       : AddScored(*scored, lower, ops));
  const double on_device = options.engine.backend == "sim" ? ops.MostBytes() : 0;
  TP_RETURN_IF_ERROR(io::CheckFits(
      on_device + ops.LargestBuffer() + io::kBytesOfARanksThreads, "the ops of this step",
      "take fewer tokens (--tokens, --batch, --sequence), or a larger --tp"));
  DeviceInfo device;
  const int64_t begin = HostClock().NowNs();
  io::Progress progress({.tool = "predict"});
  int rounds = 0;
  double seconds = 0;
  do {
    TP_RETURN_IF_ERROR(TimeCases(*backend, kWorld, {&ops.list()}, &device, &progress));
    seconds = static_cast<double>(HostClock().NowNs() - begin) * 1e-9;
    ++rounds;
  } while (seconds + seconds / rounds < options.calibrate_seconds);
  const double gap = machine.device.gap_us;
  predict::Measurements timed = ops.Measured(gap > 0 ? gap : ops.GapUs());
  const bench::Machine host = bench::ThisMachine();
  timed.when = host.date;
  timed.where = device.name.empty() ? host.name : host.name + ", " + device.name;
  timed.repeat_floor = ops.Floor();
  return timed;
}

}  // namespace tp::predict_tool
