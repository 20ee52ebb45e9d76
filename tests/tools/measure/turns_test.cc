// Several programs trained in turns, and training that is stopped.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tools/measure/pace.h"
#include "tools/measure/train.h"
#include "tp/core/random.h"
#include "tp/model/linear_step.h"

namespace tp {
namespace {

std::map<std::string, ElementSource> AllSources() {
  std::map<std::string, ElementSource> sources;
  uint64_t stream = 0;
  for (const char* name : {"x", "targets", "w", "b"}) {
    const RandomTensor random(/*seed=*/1, stream++);
    sources[name] = [random](int64_t i) { return random.Uniform(static_cast<uint64_t>(i)); };
  }
  return sources;
}

std::vector<Program> Programs(const Mesh& mesh) {
  std::vector<Program> programs;
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    LinearStepOptions options;
    options.mode = mode;
    options.tokens = 5;
    options.in_features = 6;
    options.out_features = 7;
    options.learning_rate = 0.5;
    programs.push_back(*MakeLinearStep(options, mesh));
  }
  return programs;
}

StatusOr<std::vector<TrainResult>> InTurns(const TrainOptions& options) {
  const Mesh mesh = *Mesh::Create(2, 2);
  return TrainInTurns(*cpu::MakeCpuBackend({}), mesh, Programs(mesh), AllSources(), options);
}

TEST(TurnsTest, BlocksHaveAllStepsBetweenThem) {
  EXPECT_EQ(BlockSizes(10, 1), (std::vector<int>{10}));
  EXPECT_EQ(BlockSizes(10, 4), (std::vector<int>{3, 3, 2, 2}));
  TrainOptions options;
  options.steps = 3;
  options.blocks = 4;
  const Status refused = InTurns(options).status();
  EXPECT_EQ(refused.message(), "3 steps can't be cut into 4 blocks");
}

// Taking turns changes no bit of what each program gives alone.
TEST(TurnsTest, ProgramsTakeTurns) {
  const Mesh mesh = *Mesh::Create(2, 2);
  TrainOptions options;
  options.warmup = 1;
  options.steps = 5;
  options.blocks = 2;
  options.time_products = true;
  std::string order;  // a letter a step
  options.progress = [&](const TrainProgress& at) {
    order += at.products ? (at.program == 0 ? 'r' : 'c') : (at.program == 0 ? 'R' : 'C');
  };
  const auto backend = cpu::MakeCpuBackend({});
  const auto both = InTurns(options);
  ASSERT_TRUE(both.ok()) << both.status().ToString();
  EXPECT_EQ(order, "RCRRRrrrCCCcccRRrrCCcc");
  options.progress = nullptr;
  options.blocks = 1;
  for (size_t i = 0; i < 2; ++i) {
    const StatusOr<TrainResult> alone =
        Train(*backend, mesh, Programs(mesh)[i], AllSources(), options);
    ASSERT_TRUE(alone.ok()) << alone.status().ToString();
    const TrainResult& turns = (*both)[i];
    EXPECT_TRUE(turns.complete);
    EXPECT_EQ(turns.losses, alone->losses);
    for (const auto& [name, tensor] : alone->last) {
      EXPECT_EQ(turns.last.at(name).ToDoubles(), tensor.ToDoubles()) << name;
    }
    for (const RankRecord& rank : turns.ranks) {
      EXPECT_EQ(rank.steps.size(), 5u);
      EXPECT_EQ(rank.products.size(), 5u);
    }
  }
}

// Wherever it is stopped, all ranks stop at the same step, with what they have.
TEST(TurnsTest, StopsWithWhatThereIs) {
  for (int limit = 0; limit < 9; ++limit) {
    TrainOptions options;
    options.warmup = 1;
    options.steps = 4;
    options.blocks = 2;
    int asked = 0;
    options.stop = [&] { return asked++ == limit; };
    const auto both = InTurns(options);
    ASSERT_TRUE(both.ok()) << both.status().ToString();
    // RC .RR .CC .RR .CC, where a dot is an untimed step of products.
    const size_t row[] = {0, 1, 1, 1, 2, 3, 3, 3, 3};
    const size_t column[] = {0, 0, 1, 1, 1, 1, 1, 2, 3};
    EXPECT_FALSE((*both)[0].complete);
    EXPECT_EQ((*both)[0].losses.size(), row[limit]) << limit;
    EXPECT_EQ((*both)[1].losses.size(), column[limit]) << limit;
    EXPECT_EQ((*both)[0].first.empty(), row[limit] == 0) << limit;
    for (const RankRecord& rank : (*both)[0].ranks) {
      EXPECT_EQ(rank.steps.size(), row[limit] < 2 ? 0 : row[limit] - 1) << limit;
    }
  }
}

}  // namespace
}  // namespace tp
