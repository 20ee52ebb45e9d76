// Every collective x every form it has x world sizes 1..17 x counts from none to many, run over
// many seeds and over the free scheduler: always the same bits, exact on integers, and the bytes
// that the contract promises. All counts of one world run one after the other in one world, so that
// ranks are also in different calls at the same time.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "tests/core/sanitized.h"
#include "tests/sim/harness.h"
#include "tp/core/dtype.h"

namespace tp::sim {
namespace {

// Under a sanitizer a run takes about fifty times as long.
constexpr int kSeeds = kSanitized ? 25 : 1000;

// --test_env=TP_SIM_SEEDS=100000 runs that many.
int Seeds() {
  const char* seeds = std::getenv("TP_SIM_SEEDS");
  return seeds == nullptr ? kSeeds : std::atoi(seeds);
}

struct Case {
  CollectiveCall call;
  Values values;
  std::vector<std::unique_ptr<Buffers>> buffers;  // by rank
  std::vector<Bytes> inputs;
  std::vector<Bytes> first;  // the first run's outputs
};

// World size, kind, algorithm.
using Param = std::tuple<int, CollectiveKind, Algorithm>;

class MatrixTest : public testing::TestWithParam<Param> {
 protected:
  void SetUp() override {
    std::tie(world_, kind_, algorithm_) = GetParam();
    const std::vector<int64_t> counts = {0, 1, world_ - 1, world_, world_ + 1, 1031};
    for (size_t i = 0; i < counts.size(); ++i) {
      AddCase(MakeCall(kind_, kAllDTypes[(i + world_) % 4], world_, counts[i], i),
              i % 2 == 0 ? Place::kInPlace : Place::kOutOfPlace,
              {Values::kIntegers, Values::kFloats});
    }
    // Enough for pipelines of many pieces; only with the values that fewer seeds take.
    if (algorithm_ == Algorithm::kTree || kind_ == CollectiveKind::kBroadcast) {
      AddCase(MakeCall(kind_, DType::kFloat64, world_, 20011, 3), Place::kInPlace,
              {Values::kIntegers});
    }
  }

  void AddCase(CollectiveCall call, Place place, const std::vector<Values>& all_values) {
    for (Values values : all_values) {
      Case one;
      one.call = call;
      one.values = values;
      for (int rank = 0; rank < world_; ++rank) {
        one.buffers.push_back(std::make_unique<Buffers>(call, rank, world_, place));
        one.inputs.push_back(MakeInput(call, rank, world_, values));
      }
      cases_.push_back(std::move(one));
    }
  }

  // Runs the cases with these values and checks all that must hold.
  void Check(Scheduler& scheduler, Values values, const std::string& what) {
    Fabric fabric(scheduler, world_);
    for (Case& one : cases_) {
      for (int rank = 0; rank < world_ && one.values == values; ++rank) {
        one.buffers[rank]->Fill(one.inputs[rank]);
      }
    }
    std::vector<int64_t> sent(cases_.size() * world_);
    const std::vector<Status> statuses = RunRanks(scheduler, world_, [&](int rank) -> Status {
      TP_ASSIGN_OR_RETURN(const auto communicator,
                          Communicator::Create(fabric, Ranks(world_), rank, 7));
      for (size_t i = 0; i < cases_.size(); ++i) {
        if (cases_[i].values != values) continue;
        Buffers& buffers = *cases_[i].buffers[rank];
        TP_RETURN_IF_ERROR(
            communicator->Run(cases_[i].call, algorithm_, buffers.in(), buffers.out()));
        buffers.Take();
        sent[i * world_ + rank] = communicator->last_bytes_sent();
      }
      return OkStatus();
    });
    for (const Status& status : statuses)
      ASSERT_TRUE(status.ok()) << what << ": " << status.ToString();
    for (size_t i = 0; i < cases_.size(); ++i) {
      if (cases_[i].values == values) {
        CheckCase(cases_[i], what + ", " + ToString(cases_[i].call));
        CheckBytes(cases_[i].call, std::vector<int64_t>(sent.begin() + i * world_,
                                                        sent.begin() + (i + 1) * world_));
      }
      if (HasFailure()) return;
    }
  }

  void CheckCase(Case& one, const std::string& what) {
    const bool first_run = one.first.empty();
    for (int rank = 0; rank < world_; ++rank) {
      const Bytes& result = one.buffers[rank]->result();
      if (first_run) {
        one.first.push_back(result);
        if (one.values == Values::kIntegers) {
          EXPECT_EQ(one.first[rank], Reference(one.call, rank, world_, one.values))
              << what << ", rank " << rank;
        }
        if (kind_ == CollectiveKind::kAllReduce) {
          EXPECT_EQ(one.first[rank], one.first[0]) << what << ", rank " << rank;
        }
      } else if (result != one.first[rank]) {
        ADD_FAILURE() << what << ", rank " << rank << ": other bits than in the first run";
      }
    }
  }

  void CheckBytes(const CollectiveCall& call, const std::vector<int64_t>& sent) {
    int64_t total = 0;
    for (int64_t bytes : sent) total += bytes;
    EXPECT_EQ(total, Communicator::ExpectedBytesSent(call, algorithm_, world_)) << ToString(call);
    EXPECT_EQ(total, MinimalElementsSent(call, world_) * SizeOf(call.dtype)) << ToString(call);
  }

  int world_;
  CollectiveKind kind_;
  Algorithm algorithm_;
  std::vector<Case> cases_;
};

TEST_P(MatrixTest, SameBitsOnEverySchedule) {
  for (Values values : {Values::kIntegers, Values::kFloats}) {
    for (int run = 0; run < 2; ++run) {
      Check(*MakeFreeScheduler({}), values, "free run " + std::to_string(run));
      if (HasFailure()) return;
    }
  }
  for (int seed = 0; seed < Seeds(); ++seed) {
    const Values values = seed % 8 == 0 ? Values::kIntegers : Values::kFloats;
    Check(*MakeSeededScheduler({.deadline = {}, .seed = static_cast<uint64_t>(seed)}), values,
          "seed " + std::to_string(seed));
    if (HasFailure()) return;
  }
}

std::vector<Param> AllParams() {
  std::vector<Param> params;
  for (int world = 1; world <= 17; ++world) {
    for (CollectiveKind kind : kAllKinds) {
      for (Algorithm algorithm : FormsOf(kind)) params.emplace_back(world, kind, algorithm);
    }
  }
  return params;
}

std::string ParamName(const testing::TestParamInfo<Param>& info) {
  const auto [world, kind, algorithm] = info.param;
  return std::string(Name(kind)) + "_" + Name(algorithm) + "_world_" + std::to_string(world);
}

INSTANTIATE_TEST_SUITE_P(All, MatrixTest, testing::ValuesIn(AllParams()), ParamName);

}  // namespace
}  // namespace tp::sim
