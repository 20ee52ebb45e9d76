#include "tools/verify/op_by_op.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "backends/cpu/functions.h"
#include "backends/nccl/functions.h"
#include "fmt/format.h"
#include "tools/bench/data.h"
#include "tools/bench/extra_runs.h"
#include "tools/bench/run.h"
#include "tools/io/table.h"
#include "tp/model/linear_step.h"
#include "tp/verify/observe.h"

namespace tp::verifier {

verify::OpByOpOptions OpByOpOptionsOf(const bench::BenchOptions& engine, LinearMode mode) {
  const verify::NumericModel model = bench::ModelOf(engine, mode);
  verify::OpByOpOptions options;
  options.arithmetic.product_roundoff = model.accumulator_roundoff;
  options.arithmetic.operand_roundoff = model.operand_roundoff;
  options.arithmetic.probabilistic = model.probabilistic;
  options.arithmetic.functions =
      engine.backend == "sim" ? cpu::ErrorsOfFunctions() : nccl::ErrorsOfFunctions();
  options.full = engine.verify == bench::VerifyMode::kFull;
  options.seed = engine.seed;
  return options;
}

verify::Outcome OpByOpResult::outcome() const {
  verify::Outcome gravest = verify::Outcome::kOk;
  for (const OpByOpRun& run : runs) gravest = Worse(gravest, run.report.outcome());
  return gravest;
}

StatusOr<OpByOpResult> RunOpByOp(Backend& backend, const bench::BenchOptions& engine,
                                 const verify::LinearProblem& problem) {
  OpByOpResult result;
  result.step = engine.steps - 1;
  const bench::TrainingData data = bench::DataOf(problem, verify::Lane::kBounded);
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(engine.tp, engine.dp));
  for (LinearMode mode : engine.modes) {
    LinearStepOptions step = bench::StepOf(engine, mode);
    step.loss_scale = problem.loss_scale;
    TP_ASSIGN_OR_RETURN(const Program program, MakeLinearStep(step, mesh));
    TP_ASSIGN_OR_RETURN(
        const verify::ObservedValues observed,
        verify::Observe(backend, mesh, program, data.sources, {.steps_before = result.step}));
    if (!backend.IsRoot()) continue;
    TP_ASSIGN_OR_RETURN(
        verify::OpByOpReport report,
        verify::VerifyOpByOp(program, mesh, observed, OpByOpOptionsOf(engine, mode)));
    result.runs.push_back({mode, std::move(report)});
  }
  return result;
}

std::string RenderReport(std::string_view what, const verify::OpByOpReport& report) {
  std::istringstream lines(fmt::format("  {}{}", what, verify::ToString(report)));
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    const auto indent = static_cast<int>(std::min(line.find_first_not_of(' '), line.size()));
    text += line.substr(0, indent) + io::Wrap(line.substr(indent), indent + 2, indent) + '\n';
  }
  return text;
}

}  // namespace tp::verifier
