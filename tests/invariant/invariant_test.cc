// The same bits for every number of ranks, in both modes: all results of training, end to end.

#include <glog/logging.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <string>

#include "backends/cpu/backend.h"
#include "tools/measure/train.h"
#include "tp/core/random.h"
#include "tp/model/linear_step.h"
#include "tp/observe/step_report.h"
#include "tp/verify/compare.h"

namespace tp {
namespace {

struct Configuration {
  int64_t tokens, in_features, out_features;
  DType dtype = DType::kFloat32;
  SumOrder sum_order = SumOrder::kInvariant;
  LinearMode mode = LinearMode::kRow;
  int tp = 1;
  int dp = 1;
  bool optimize = true;
  cpu::CpuBackendOptions backend = {};

  std::string ToString() const {
    return std::to_string(tokens) + " x " + std::to_string(in_features) + " -> " +
           std::to_string(out_features) + " " + std::string(Name(dtype)) + " " +
           std::string(Name(mode)) + " tp " + std::to_string(tp) + " dp " + std::to_string(dp);
  }
};

constexpr int kSteps = 3;
constexpr double kLearningRate = 0.25;

std::map<std::string, ElementSource> Sources(const Configuration& c) {
  const double spread = 1 / std::sqrt(static_cast<double>(c.in_features));
  std::map<std::string, ElementSource> sources;
  uint64_t stream = 0;
  for (const auto& [name, size] : {std::pair("x", 1.0), std::pair("targets", 1.0),
                                   std::pair("w", spread), std::pair("b", spread)}) {
    sources[name] = [random = RandomTensor(3, stream++), size = size](int64_t index) {
      return size * random.Uniform(static_cast<uint64_t>(index));
    };
  }
  return sources;
}

struct Trained {
  TrainResult result;
  StepReport report;
};

Trained Train(const Configuration& c) {
  const Mesh mesh = *Mesh::Create(c.tp, c.dp);
  LinearStepOptions options;
  options.mode = c.mode;
  options.tokens = c.tokens;
  options.in_features = c.in_features;
  options.out_features = c.out_features;
  options.dtype = c.dtype;
  options.learning_rate = kLearningRate;
  options.sum_order = c.sum_order;
  options.optimize = c.optimize;
  const StatusOr<Program> program = MakeLinearStep(options, mesh);
  CHECK(program.ok()) << program.status().ToString();
  const std::unique_ptr<Backend> backend = cpu::MakeCpuBackend(c.backend);
  TrainOptions train;
  train.warmup = 0;
  train.steps = kSteps;
  StatusOr<TrainResult> result = tp::Train(*backend, mesh, *program, Sources(c), train);
  CHECK(result.ok()) << c.ToString() << ": " << result.status().ToString();
  StatusOr<StepReport> report = MakeStepReport(*program, mesh, result->ranks);
  CHECK(report.ok()) << report.status().ToString();
  return {std::move(*result), std::move(*report)};
}

bool SameBits(const HostTensor& a, const HostTensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.bytes().data(), b.bytes().data(), a.bytes().size()) == 0;
}

// Names of the results that differ in a bit; losses only where both ran over as many replicas.
std::vector<std::string> Differences(const Trained& a, const Trained& b, bool losses) {
  std::vector<std::string> names;
  for (const auto* tensors : {&a.result.first, &a.result.last}) {
    const auto& others = tensors == &a.result.first ? b.result.first : b.result.last;
    for (const auto& [name, tensor] : *tensors) {
      if (!SameBits(tensor, others.at(name))) names.push_back(name);
    }
  }
  if (losses && a.result.losses != b.result.losses) names.push_back("loss");
  return names;
}

void ExpectSound(const Trained& run, const Configuration& c) {
  EXPECT_TRUE(run.result.replica_defects.empty()) << c.ToString();
  EXPECT_TRUE(run.report.bytes_ok) << c.ToString();
}

struct Sizes {
  int64_t tokens, in_features, out_features;
};
// The last: shards, and whole blocks, with nothing in them.
constexpr Sizes kSizes[] = {{24, 48, 96}, {13, 101, 37}, {1, 35, 70}, {5, 3, 2}};

class InvariantTest : public testing::TestWithParam<DType> {};

TEST_P(InvariantTest, SameBitsForEveryTpInBothModes) {
  for (const Sizes& sizes : kSizes) {
    Configuration c{sizes.tokens, sizes.in_features, sizes.out_features, GetParam()};
    const Trained alone = Train(c);
    for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
      for (int tp : {1, 2, 3, 4, 6, 8}) {
        c.mode = mode;
        c.tp = tp;
        const Trained run = Train(c);
        EXPECT_EQ(Differences(alone, run, true), std::vector<std::string>()) << c.ToString();
        ExpectSound(run, c);
      }
    }
  }
}

// Shards of tokens are unions of blocks too: all but the loss keeps its bits over dp as well.
TEST_P(InvariantTest, SameBitsForEveryDpButTheLoss) {
  Configuration c{17, 26, 31, GetParam()};
  const Trained alone = Train(c);
  for (int dp : {2, 3, 8}) {
    c.dp = dp;
    c.tp = 1;
    const Trained first = Train(c);
    for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
      for (int tp : {1, 2, 3}) {
        c.mode = mode;
        c.tp = tp;
        const Trained run = Train(c);
        EXPECT_EQ(Differences(alone, run, false), std::vector<std::string>()) << c.ToString();
        EXPECT_EQ(Differences(first, run, true), std::vector<std::string>()) << c.ToString();
        ExpectSound(run, c);
      }
    }
  }
}

// Neither the scheduler nor the all_reduce that fast sums would use, nor the passes, show.
TEST_P(InvariantTest, SameBitsHoweverItRuns) {
  Configuration c{13, 50, 29, GetParam()};
  const Trained alone = Train(c);
  c.tp = 6;
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    c.mode = mode;
    for (uint64_t seed = 0; seed < 5; ++seed) {
      Configuration seeded = c;
      seeded.backend.scheduler = cpu::SchedulerKind::kSeeded;
      seeded.backend.scheduler_seed = seed;
      EXPECT_TRUE(Differences(alone, Train(seeded), true).empty()) << c.ToString() << " " << seed;
    }
    for (sim::Algorithm algorithm : sim::kAllAlgorithms) {
      Configuration by = c;
      by.backend.all_reduce = algorithm;
      EXPECT_TRUE(Differences(alone, Train(by), true).empty()) << c.ToString();
    }
    Configuration plain = c;
    plain.optimize = false;
    EXPECT_TRUE(Differences(alone, Train(plain), true).empty()) << c.ToString();
  }
}

// The bounds of this mode, which are tighter than those of fast sums, hold.
TEST_P(InvariantTest, StaysWithinItsBounds) {
  for (const Sizes& sizes : kSizes) {
    for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
      Configuration c{sizes.tokens, sizes.in_features, sizes.out_features, GetParam()};
      c.mode = mode;
      c.tp = 6;
      c.dp = 2;
      Trained run = Train(c);
      const auto whole = [&](const char* name, Shape shape) {
        HostTensor tensor(std::move(shape), c.dtype);
        const ElementSource source = Sources(c).at(name);
        for (int64_t i = 0; i < tensor.size(); ++i) tensor.Set(i, source(i));
        return tensor;
      };
      verify::LinearProblem problem;
      problem.x = whole("x", {c.tokens, c.in_features});
      problem.targets = whole("targets", {c.tokens, c.out_features});
      problem.w = whole("w", {c.out_features, c.in_features});
      problem.b = whole("b", {c.out_features});
      problem.learning_rate = kLearningRate;
      problem.steps = kSteps;
      verify::Observed observed;
      observed.y = run.result.first.at("y");
      observed.dx = run.result.first.at("dx");
      observed.dw = run.result.first.at("dw");
      observed.db = run.result.first.at("db");
      observed.w = run.result.last.at("w");
      observed.b = run.result.last.at("b");
      observed.losses = run.result.losses;
      verify::NumericModel model = verify::MakeModel(
          c.dtype, mode == LinearMode::kRow ? verify::Mode::kRow : verify::Mode::kColumn, c.tp,
          c.dp);
      model.sum_order = SumOrder::kInvariant;
      verify::VerifyOptions options;
      options.sample.full = true;
      const StatusOr<verify::Report> report =
          verify::VerifyLinear(problem, observed, model, options);
      ASSERT_TRUE(report.ok()) << report.status().ToString();
      EXPECT_TRUE(report->ok()) << verify::ToString(*report);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllDTypes, InvariantTest, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(Name(info.param)); });

// Otherwise the tests above could not fail.
TEST(FastSums, ChangeWithTheNumberOfRanks) {
  Configuration c{13, 101, 37};
  c.sum_order = SumOrder::kFast;
  c.mode = LinearMode::kColumn;
  const Trained alone = Train(c);
  c.tp = 3;
  const std::vector<std::string> changed = Differences(alone, Train(c), true);
  EXPECT_NE(std::find(changed.begin(), changed.end(), "y"), changed.end());
  EXPECT_NE(std::find(changed.begin(), changed.end(), "w"), changed.end());
}

}  // namespace
}  // namespace tp
