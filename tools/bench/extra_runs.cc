#include "tools/bench/extra_runs.h"

#include <utility>

#include "tools/bench/run.h"
#include "tools/measure/train.h"

namespace tp::bench {
namespace {

// Features and tokens of a product whose rate is near the machine's best. On CPUs a larger one pays
// where the run's own products are large.
int64_t PeakSize(const BenchOptions& options, double step_flops) {
  if (options.backend == "nccl") return 4096;
  constexpr double kLargeStep = 1e10;  // operations
  return step_flops < kLargeStep ? 512 : 1024;
}

StatusOr<std::optional<StepReport>> Time(Backend& backend, const BenchOptions& options,
                                         const std::map<std::string, ElementSource>& sources,
                                         std::optional<double> loss_scale,
                                         const std::function<bool()>& stop) {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(options.tp, options.dp));
  LinearStepOptions step = StepOf(options, LinearMode::kRow);
  step.loss_scale = loss_scale;
  TP_ASSIGN_OR_RETURN(const Program program, MakeLinearStep(step, mesh));
  TrainOptions train;
  train.warmup = options.warmup;
  train.steps = options.steps;
  train.time_products = options.floor;
  train.stop = stop;
  TP_ASSIGN_OR_RETURN(const TrainResult trained, Train(backend, mesh, program, sources, train));
  if (!backend.IsRoot() || !trained.complete) return std::optional<StepReport>();
  TP_ASSIGN_OR_RETURN(StepReport report, MakeStepReport(program, mesh, trained.ranks));
  return std::optional(std::move(report));
}

}  // namespace

StatusOr<std::optional<double>> MeasurePeak(Backend& backend, const BenchOptions& options,
                                            double step_flops, const std::function<bool()>& stop) {
  BenchOptions large = options;
  large.tp = options.tp * options.dp;
  large.dp = 1;
  large.tokens = large.in_features = large.out_features = PeakSize(options, step_flops);
  large.sum_order = SumOrder::kFast;
  large.warmup = 1;
  large.steps = 3;
  large.floor = true;
  // Any numbers will do that stay what they are; these are exact in every type.
  const ElementSource numbers = [](int64_t i) { return static_cast<double>(i % 5 - 2) / 4; };
  large.learning_rate = 0;
  TP_ASSIGN_OR_RETURN(
      const std::optional<StepReport> report,
      Time(backend, large, {{"x", numbers}, {"targets", numbers}, {"w", numbers}, {"b", numbers}},
           std::nullopt, stop));
  if (!report || !report->products) return std::optional<double>();
  return std::optional(FlopsPerStep(large) / (report->products->min / 1e3));
}

StatusOr<std::optional<Quantiles>> TimeWithTp1(Backend& backend, const BenchOptions& options,
                                               const TrainingData& data,
                                               const std::function<bool()>& stop) {
  BenchOptions single = options;
  single.tp = 1;
  single.floor = false;
  TP_ASSIGN_OR_RETURN(const std::optional<StepReport> report,
                      Time(backend, single, data.sources, data.problem.loss_scale, stop));
  if (!report) return std::optional<Quantiles>();
  return std::optional(report->step);
}

}  // namespace tp::bench
