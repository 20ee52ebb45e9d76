#include "tools/verify/model.h"

#include <optional>
#include <utility>

#include "backends/cpu/functions.h"
#include "backends/nccl/functions.h"
#include "fmt/format.h"
#include "tools/bench/run.h"
#include "tools/io/memory.h"
#include "tools/train/model_step.h"
#include "tools/verify/op_by_op.h"
#include "tp/verify/observe.h"

namespace tp::verifier {

StatusOr<ModelResult> RunModel(Backend& backend, const train::ModelOptions& model,
                               const bench::BenchOptions& engine, io::Progress* progress) {
  std::optional<io::ProgressStage> stage(std::in_place, progress, "the step");
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(engine.tp, engine.dp));
  TP_ASSIGN_OR_RETURN(train::ModelStep step, train::DrawModelStep(mesh, model, engine));
  if (engine.backend == "sim") {
    TP_ASSIGN_OR_RETURN(const double bytes, verify::BytesToObserve(backend, mesh, step.program));
    TP_RETURN_IF_ERROR(
        io::CheckFits(bytes + io::kBytesOfARanksThreads * mesh.world(),
                      fmt::format("the values of a step on {} ranks", mesh.world()),
                      "take fewer ranks, --batch or --sequence, or a smaller model"));
  }
  TP_RETURN_IF_ERROR(train::LoadWeights(backend, mesh, model, step));
  TP_ASSIGN_OR_RETURN(const verify::ObservedValues observed,
                      verify::Observe(backend, mesh, step.program, step.sources,
                                      {.steps_before = engine.steps - 1}));
  ModelResult result;
  result.head = RenderModel(model, engine, step.config.sizes);
  if (!backend.IsRoot()) return result;
  stage.reset();
  stage.emplace(progress, "op by op", std::ssize(step.program.values()));
  const verify::NumericModel numbers = bench::ModelOf(engine, LinearMode::kRow);
  verify::OpByOpOptions options;
  options.arithmetic.product_roundoff = numbers.accumulator_roundoff;
  options.arithmetic.operand_roundoff = numbers.operand_roundoff;
  options.arithmetic.probabilistic = numbers.probabilistic;
  options.arithmetic.functions =
      engine.backend == "sim" ? cpu::ErrorsOfFunctions() : nccl::ErrorsOfFunctions();
  options.seed = engine.seed;
  if (progress != nullptr) {
    options.progress = [progress](int64_t done) { progress->Update("op by op", done); };
  }
  TP_ASSIGN_OR_RETURN(result.report, verify::VerifyOpByOp(step.program, mesh, observed, options));
  return result;
}

std::string RenderModelResult(const bench::BenchOptions& engine, const ModelResult& result) {
  const char* verdict = "the sharded step is the unsharded program, but for rounding.";
  if (result.report.outcome() == verify::Outcome::kFail) verdict = "FAIL: see above.";
  if (result.report.outcome() == verify::Outcome::kUndecided) {
    verdict = "undecided: nothing fails, and not everything could be decided; see above.";
  }
  return fmt::format(
      "{}\nStep {}: every value against what its op makes of the values that it read\n"
      "{}\nVerdict: {}\n",
      result.head, engine.steps - 1, RenderReport("", result.report), verdict);
}

}  // namespace tp::verifier
