#include "tools/bench/model_run.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "backends/predict/op_work.h"
#include "tools/bench/extra_runs.h"
#include "tools/io/interrupt.h"
#include "tools/measure/train.h"
#include "tools/train/model_step.h"
#include "tp/model/model_flops.h"
#include "tp/schedule/lower.h"

namespace tp::bench {
namespace {

StepFlops FlopsOf(const ModelRun& run, const train::ModelOptions& model, const Program& program,
                  const std::vector<Schedule>& schedules) {
  StepFlops flops;
  flops.model = model.part ? PartFlops(run.sizes, *model.part, model.batch, model.sequence)
                           : ModelFlops(run.sizes, model.batch, model.sequence);
  for (const Schedule& schedule : schedules) {
    for (const ScheduledOp& op : schedule.ops) {
      if (op.action == Action::kCollective) continue;
      const double of_op = predict::WorkOf(program, schedule, op).flops;
      flops.program += of_op;
      if (IsProduct(op.action)) flops.products += of_op;
    }
  }
  return flops;
}

StatusOr<TrainResult> Measure(Backend& backend, const Mesh& mesh, const BenchOptions& options,
                              const train::ModelStep& step, const ModelHooks& hooks,
                              const std::function<bool()>& stop, ModelRun& run) {
  TrainOptions train;
  train.warmup = options.warmup;
  train.steps = options.steps;
  train.time_products = options.floor;
  train.profiled_steps = options.profile ? options.steps : 0;
  train.tensors = false;
  train.stop = stop;
  io::ProgressStage stage(hooks.progress, "training",
                          options.warmup + int64_t{options.steps} * (options.floor ? 2 : 1));
  int64_t done = 0;
  auto before_first = io::ExitWith(run, hooks.interrupted);
  train.progress = [&](const TrainProgress& at) {
    before_first.reset();
    if (hooks.progress == nullptr) return;
    hooks.progress->Update(at.products ? "matrix products alone" : "steps", ++done);
  };
  return Train(backend, mesh, step.program, step.sources, train);
}

}  // namespace

std::optional<size_t> ModelRun::lost() const {
  const auto at = std::ranges::find_if_not(losses, [](double loss) { return std::isfinite(loss); });
  if (at == losses.end()) return std::nullopt;
  return static_cast<size_t>(at - losses.begin()) + 1;
}

StatusOr<ModelRun> RunModel(Backend& backend, const BenchOptions& options,
                            const train::ModelOptions& model, const ModelHooks& hooks) {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(options.tp, options.dp));
  TP_RETURN_IF_ERROR(backend.Check(mesh.world(), options.dtype));
  std::optional<io::Interrupt> interrupt;
  std::function<bool()> stop;
  if (hooks.interrupted) {
    interrupt.emplace();
    stop = [] { return io::Interrupt::Signal() != 0; };
  }
  TP_ASSIGN_OR_RETURN(const train::ModelStep step, train::DrawModelStep(mesh, model, options));
  TP_ASSIGN_OR_RETURN(const std::vector<Schedule> schedules,
                      LowerAll(step.program, mesh, backend.HowToLower()));
  TP_RETURN_IF_ERROR(train::CheckMemory(options, model, schedules));
  ModelRun run;
  run.host = backend.Describe();
  run.sizes = step.config.sizes;
  run.flops = FlopsOf(run, model, step.program, schedules);
  if (hooks.started && backend.IsRoot()) hooks.started(run);
  if (options.peak) {
    io::ProgressStage stage(hooks.progress, "the machine's peak");
    TP_ASSIGN_OR_RETURN(run.peak, MeasurePeak(backend, options, run.flops.products, stop));
  }
  TP_ASSIGN_OR_RETURN(TrainResult trained, Measure(backend, mesh, options, step, hooks, stop, run));
  if (!backend.IsRoot()) return run;
  run.complete = trained.complete;
  run.losses = trained.losses;
  if (trained.ranks[0].steps.empty()) return run;
  TP_ASSIGN_OR_RETURN(run.step, MakeMeasuredStep(options.backend, mesh, step.program, trained));
  if (run.peak && run.step->steps.products) {
    // No lower than the run's own products were: others may have disturbed its measurement.
    const double own = run.flops.products / (run.step->steps.products->min / 1e3);
    run.peak = std::max(*run.peak, own);
  }
  return run;
}

}  // namespace tp::bench
