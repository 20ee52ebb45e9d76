#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "tests/conformance/conformance.h"
#include "tests/conformance/linear_run.h"
#include "tp/core/random.h"
#include "tp/observe/step_report.h"
#include "tp/verify/compare.h"
#include "tp/verify/exact.h"

namespace tp::conformance {
namespace {

constexpr int kSteps = 3;
constexpr size_t kTwins = 3;  // of a subject's, by turn
constexpr LinearShape kShapes[] = {kUneven, kTiny, kLarger};
constexpr LinearMode kModes[] = {LinearMode::kRow, LinearMode::kColumn};
const LinearShape& ShapeOf(const Param& param) { return kShapes[param.turn % std::size(kShapes)]; }

constexpr verify::SampleOptions kEverything = {.full = true};

Mesh MeshOf(const Param& param) { return *Mesh::Create(param.tp, param.dp); }

std::string Describe(LinearMode mode, bool optimize) {
  return std::string(Name(mode)) + (optimize ? "" : ", without the passes");
}

// What must hold of any run, whatever its numbers.
void CheckRun(const LinearRun& run, const Mesh& mesh) {
  EXPECT_EQ(run.result.replica_defects, std::vector<std::string>());
  const StatusOr<StepReport> report = MakeStepReport(run.program, mesh, run.result.ranks);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  for (const CollectiveReport& collective : report->collectives) {
    EXPECT_TRUE(collective.ok()) << collective.contract.name << " by " << collective.algorithm
                                 << " " << DescribeWrongBytes(collective);
  }
  EXPECT_TRUE(report->bytes_ok);
}

void CheckNumbers(const verify::LinearProblem& problem, const LinearRun& run, LinearMode mode,
                  const Mesh& mesh, verify::Lane lane) {
  const StatusOr<verify::Report> report = verify::VerifyLinear(
      problem, run.observed, ModelOf(problem, mode, mesh), {.lane = lane, .sample = kEverything});
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_TRUE(report->ok()) << verify::ToString(*report);
  for (const verify::QuantityReport& quantity : report->quantities) {
    EXPECT_EQ(quantity.checked, quantity.total) << verify::Name(quantity.quantity);
  }
}

// Row and column, with and without the passes, in this order.
std::vector<LinearRun> RunAll(Backend& backend, const Mesh& mesh,
                              const verify::LinearProblem& problem, verify::Lane lane) {
  std::vector<LinearRun> runs;
  for (LinearMode mode : kModes) {
    for (bool optimize : {true, false}) {
      SCOPED_TRACE(Describe(mode, optimize));
      StatusOr<LinearRun> run = RunLinear(backend, mesh, problem, mode, optimize);
      if (!run.ok()) {
        ADD_FAILURE() << run.status().ToString();
        return {};
      }
      CheckRun(*run, mesh);
      CheckNumbers(problem, *run, mode, mesh, lane);
      runs.push_back(*std::move(run));
    }
  }
  return runs;
}

// As many steps as the type can hold exactly, at most kSteps.
verify::LinearProblem ExactProblem(const LinearShape& shape, DType dtype) {
  for (int steps = kSteps; steps > 0; --steps) {
    const StatusOr<verify::LinearProblem> problem = verify::MakeExactProblem(
        {shape.tokens, shape.in_features, shape.out_features, dtype, steps, /*seed=*/11},
        kEverything);
    if (problem.ok()) return *problem;
  }
  ADD_FAILURE() << "no exact problem of " << ToString(shape) << " in " << Name(dtype);
  return {};
}

}  // namespace

TEST_P(LinearStepTest, StaysWithinTheBounds) {
  const Mesh mesh = MeshOf(GetParam());
  const std::unique_ptr<Backend> backend = GetParam().subject.make();
  const LinearShape& shape = ShapeOf(GetParam());
  SCOPED_TRACE(ToString(shape));
  const verify::LinearProblem problem = RandomProblem(shape, GetParam().dtype, kSteps, /*seed=*/7);
  const std::vector<LinearRun> runs = RunAll(*backend, mesh, problem, verify::Lane::kBounded);
  ASSERT_FALSE(HasFatalFailure() || runs.empty());
  const StatusOr<verify::Report> report = verify::CompareRuns(
      problem, {"row", &runs[0].observed, ModelOf(problem, LinearMode::kRow, mesh)},
      {"column", &runs[2].observed, ModelOf(problem, LinearMode::kColumn, mesh)},
      {.sample = kEverything});
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_TRUE(report->ok()) << verify::ToString(*report);
}

TEST_P(LinearStepTest, IsExactWhereNothingRounds) {
  const Mesh mesh = MeshOf(GetParam());
  const std::unique_ptr<Backend> backend = GetParam().subject.make();
  const LinearShape& shape = ShapeOf(GetParam());
  SCOPED_TRACE(ToString(shape));
  const verify::LinearProblem problem = ExactProblem(shape, GetParam().dtype);
  ASSERT_FALSE(HasFailure());
  const std::vector<LinearRun> runs = RunAll(*backend, mesh, problem, verify::Lane::kExact);
  ASSERT_FALSE(HasFatalFailure() || runs.empty());
  for (size_t i = 1; i < runs.size(); ++i) {
    EXPECT_EQ(DifferentBits(runs[0], runs[i]), "") << "row against run " << i;
  }
}

TEST_P(LinearStepTest, GivesTheSameBitsEveryTime) {
  const Mesh mesh = MeshOf(GetParam());
  const Subject& subject = GetParam().subject;
  const int turn = GetParam().turn;
  std::vector<MakeBackend> ways = {subject.make};  // again
  for (size_t i = 0; i < std::min<size_t>(subject.twins.size(), kTwins); ++i) {
    ways.push_back(subject.twins[(turn + i) % subject.twins.size()]);
  }
  const verify::LinearProblem problem =
      RandomProblem(kUneven, GetParam().dtype, kSteps, /*seed=*/3);
  const LinearMode mode = kModes[turn / static_cast<int>(std::size(kShapes)) % std::size(kModes)];
  const StatusOr<LinearRun> first = RunLinear(*subject.make(), mesh, problem, mode);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  for (size_t i = 0; i < ways.size(); ++i) {
    SCOPED_TRACE(Describe(mode, true) + ", way " + std::to_string(i));
    const StatusOr<LinearRun> again = RunLinear(*ways[i](), mesh, problem, mode);
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    EXPECT_EQ(DifferentBits(*first, *again), "");
  }
}

// What the counter-based source says, on no rank's shard alone: so they are the same bits at every
// tp degree.
TEST_P(LinearStepTest, StartsFromTheSameWeightsAtEveryDegree) {
  const Mesh mesh = MeshOf(GetParam());
  const std::unique_ptr<Backend> backend = GetParam().subject.make();
  verify::LinearProblem problem = RandomProblem(kUneven, GetParam().dtype, 1, /*seed=*/5);
  problem.learning_rate = 0;  // the weights stay what they were
  for (LinearMode mode : kModes) {
    SCOPED_TRACE(Describe(mode, true));
    const StatusOr<LinearRun> run = RunLinear(*backend, mesh, problem, mode);
    ASSERT_TRUE(run.ok()) << run.status().ToString();
    LinearRun expected;
    expected.observed = run->observed;
    expected.observed.w = problem.w;
    expected.observed.b = problem.b;
    EXPECT_EQ(DifferentBits(*run, expected), "");
  }
}

}  // namespace tp::conformance
