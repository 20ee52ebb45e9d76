#include "sim/collectives/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/harness.h"
#include "tp/core/dtype.h"

namespace tp::sim {
namespace {

using testing::HasSubstr;

constexpr int64_t kCount = 37;

std::unique_ptr<Scheduler> Seeded(uint64_t seed) {
  return MakeSeededScheduler({.deadline = {}, .seed = seed});
}

CollectiveCall AllReduce(int64_t count) {
  return MakeCall(CollectiveKind::kAllReduce, DType::kFloat32, 2, count, 0);
}

TEST(CommunicatorTest, WorldsUpToSixtyFour) {
  for (int world : {24, 31, 32, 33, 63, 64}) {
    for (CollectiveKind kind : kAllKinds) {
      for (Algorithm algorithm : FormsOf(kind)) {
        const CollectiveCall call = MakeCall(kind, DType::kFloat64, world, 5 * world + 3, world);
        for (const auto& scheduler : {MakeFreeScheduler({}), Seeded(world)}) {
          Fabric fabric(*scheduler, world);
          for (const Status& status : RunOnce(fabric, call, algorithm)) {
            ASSERT_TRUE(status.ok()) << ToString(call) << " by " << Name(algorithm) << " among "
                                     << world << ": " << status.ToString();
          }
        }
      }
    }
  }
}

// Ranks 0..11 as a grid of 3 x 4: each is in a row, in a column, and some in one odd group more.
TEST(CommunicatorTest, GroupsOfAnyRanksInAnyOrderRunAtTheSameTime) {
  constexpr int kWorld = 12;
  const std::vector<int> odd_one = {7, 2, 11, 0, 5};
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const auto scheduler = Seeded(seed);
    Fabric fabric(*scheduler, kWorld);
    const auto run = [&](const std::vector<int>& ranks, int rank, uint64_t id,
                         CollectiveKind kind) -> Status {
      const int members = static_cast<int>(ranks.size());
      TP_ASSIGN_OR_RETURN(const auto communicator, Communicator::Create(fabric, ranks, rank, id));
      const int member = communicator->member();
      EXPECT_EQ(ranks[member], rank);
      const CollectiveCall call = MakeCall(kind, DType::kFloat32, members, kCount, seed);
      Buffers buffers(call, member, members, Place::kInPlace);
      buffers.Fill(MakeInput(call, member, members, Values::kIntegers));
      TP_RETURN_IF_ERROR(communicator->Run(call, Algorithm::kRing, buffers.in(), buffers.out()));
      buffers.Take();
      EXPECT_EQ(buffers.result(), Reference(call, member, members, Values::kIntegers));
      return OkStatus();
    };
    const auto statuses = RunRanks(*scheduler, kWorld, [&](int rank) -> Status {
      std::vector<int> row, column;
      for (int i = 0; i < 4; ++i) row.push_back(rank / 4 * 4 + i);
      for (int i = 2; i >= 0; --i) column.push_back(rank % 4 + 4 * i);
      TP_RETURN_IF_ERROR(run(row, rank, 100 + rank / 4, CollectiveKind::kAllReduce));
      TP_RETURN_IF_ERROR(run(column, rank, 200 + rank % 4, CollectiveKind::kAllGather));
      if (std::find(odd_one.begin(), odd_one.end(), rank) == odd_one.end()) return OkStatus();
      return run(odd_one, rank, 300, CollectiveKind::kBroadcast);
    });
    for (const Status& status : statuses) ASSERT_TRUE(status.ok()) << status.ToString();
  }
}

// One member of four calls `other`, by `other_algorithm`, where the others call `call` by ring.
std::vector<Status> RunWithOneOther(Scheduler& scheduler, const CollectiveCall& call,
                                    const CollectiveCall& other, Algorithm other_algorithm) {
  constexpr int kWorld = 4;
  Fabric fabric(scheduler, kWorld);
  return RunRanks(scheduler, kWorld, [&](int rank) -> Status {
    TP_ASSIGN_OR_RETURN(const auto communicator,
                        Communicator::Create(fabric, Ranks(kWorld), rank, 1));
    std::vector<double> in(4 * kCount, 1), out(4 * kCount, -1);
    const Status status = rank == 2
                              ? communicator->Run(other, other_algorithm, in.data(), out.data())
                              : communicator->Run(call, Algorithm::kRing, in.data(), out.data());
    EXPECT_EQ(out, std::vector<double>(4 * kCount, -1)) << "data moved";
    return status;
  });
}

void ExpectMismatch(const CollectiveCall& call, const CollectiveCall& other,
                    Algorithm other_algorithm) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const auto scheduler = seed == 0 ? MakeFreeScheduler({}) : Seeded(seed);
    for (const Status& status : RunWithOneOther(*scheduler, call, other, other_algorithm)) {
      ASSERT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
      ASSERT_THAT(status.message(),
                  HasSubstr("rank 2 calls " + ToString(other) + " by " + Name(other_algorithm)));
      ASSERT_THAT(status.message(), HasSubstr(" calls " + ToString(call) + " by ring"));
    }
  }
}

TEST(CommunicatorTest, DifferentCallsAreEverybodysErrorBeforeDataMoves) {
  const CollectiveCall call = AllReduce(kCount);
  const auto but = [&](const std::function<void(CollectiveCall&)>& change) {
    CollectiveCall other = call;
    change(other);
    return other;
  };
  ExpectMismatch(call, but([](auto& c) { c.counts = {kCount + 1}; }), Algorithm::kRing);
  ExpectMismatch(call, but([](auto& c) { c.dtype = DType::kFloat64; }), Algorithm::kRing);
  ExpectMismatch(call, but([](auto& c) { c.reduction = Reduction::kMax; }), Algorithm::kRing);
  ExpectMismatch(call, but([](auto& c) { c.kind = CollectiveKind::kBroadcast; }), Algorithm::kRing);
  ExpectMismatch(call, call, Algorithm::kTree);
  CollectiveCall broadcast = call, elsewhere = call;
  broadcast.kind = elsewhere.kind = CollectiveKind::kBroadcast;
  elsewhere.root = 3;
  ExpectMismatch(broadcast, elsewhere, Algorithm::kRing);
}

TEST(CommunicatorTest, BlocksThatDifferAreNamedThoughTheirSumsAgree) {
  CollectiveCall call;
  call.kind = CollectiveKind::kAllGather;
  call.counts = {5, 5, 5, 5};
  CollectiveCall other = call;
  other.counts = {5, 6, 4, 5};
  const auto scheduler = Seeded(1);
  for (const Status& status : RunWithOneOther(*scheduler, call, other, Algorithm::kRing)) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("their counts differ first at number 1: 5 and 6"));
  }
}

TEST(CommunicatorTest, TheMemberThatNeverComesIsNamedWithTheCall) {
  constexpr int kWorld = 3;
  const SchedulerOptions soon = {.deadline = std::chrono::seconds(1), .seed = 0};
  for (const auto& scheduler : {MakeFreeScheduler(soon), Seeded(1)}) {
    Fabric fabric(*scheduler, kWorld);
    const CollectiveCall call = AllReduce(kCount);
    std::vector<Status> statuses = RunRanks(*scheduler, kWorld, [&](int rank) -> Status {
      TP_ASSIGN_OR_RETURN(const auto communicator,
                          Communicator::Create(fabric, Ranks(kWorld), rank, 1));
      if (rank == 1) return OkStatus();
      std::vector<float> data(kCount);
      return communicator->Run(call, Algorithm::kRing, data.data(), data.data());
    });
    EXPECT_EQ(scheduler->cause().code(), StatusCode::kDeadlineExceeded);
    for (int rank : {0, 2}) {
      EXPECT_FALSE(statuses[rank].ok());
      EXPECT_THAT(statuses[rank].message(),
                  HasSubstr(" for rank 1: its arrival in " + ToString(call)));
    }
  }
}

TEST(CommunicatorTest, DifferentCallsAreNamedEvenIfSomebodyElseNeverComes) {
  constexpr int kWorld = 4;
  const SchedulerOptions soon = {.deadline = std::chrono::seconds(1), .seed = 0};
  for (const auto& scheduler : {MakeFreeScheduler(soon), Seeded(1)}) {
    Fabric fabric(*scheduler, kWorld);
    const auto statuses = RunRanks(*scheduler, kWorld, [&](int rank) -> Status {
      TP_ASSIGN_OR_RETURN(const auto communicator,
                          Communicator::Create(fabric, Ranks(kWorld), rank, 1));
      if (rank == 3) return OkStatus();
      std::vector<float> data(kCount + 1);
      return communicator->Run(AllReduce(kCount + rank / 2), Algorithm::kRing, data.data(),
                               data.data());
    });
    for (int rank : {0, 1, 2}) {
      EXPECT_EQ(statuses[rank].code(), StatusCode::kInvalidArgument);
      EXPECT_THAT(statuses[rank].message(), HasSubstr("rank 2 calls all_reduce(sum, fp32, 38"));
    }
  }
}

TEST(CommunicatorTest, PrepareSaysWhatIsWrongWithACall) {
  const auto scheduler = MakeFreeScheduler({});
  Fabric fabric(*scheduler, 2);
  const auto communicator = std::move(Communicator::Create(fabric, {0, 1}, 0, 1)).value();
  const auto error = [&](CollectiveKind kind, std::vector<int64_t> counts, int root) {
    CollectiveCall call;
    call.kind = kind;
    call.counts = std::move(counts);
    call.root = root;
    const Status status = communicator->Prepare(call, Algorithm::kAuto);
    return status.ToString();
  };
  EXPECT_EQ(error(CollectiveKind::kAllReduce, {}, 0),
            "INVALID_ARGUMENT: all_reduce among 2: it takes 1 counts, not 0");
  EXPECT_THAT(error(CollectiveKind::kAllGather, {1}, 0), HasSubstr("takes 2 counts, not 1"));
  EXPECT_THAT(error(CollectiveKind::kAllToAll, {1, 2}, 0), HasSubstr("takes 4 counts, not 2"));
  EXPECT_THAT(error(CollectiveKind::kAllReduce, {-1}, 0), HasSubstr("-1 elements cannot be"));
  EXPECT_THAT(error(CollectiveKind::kReduceScatter, {int64_t{1} << 57, int64_t{1} << 57}, 0),
              HasSubstr("elements cannot be"));
  EXPECT_THAT(error(CollectiveKind::kBroadcast, {1}, 2), HasSubstr("root 2 is no member"));
  EXPECT_THAT(error(CollectiveKind::kBroadcast, {1}, -1), HasSubstr("root -1 is no member"));
}

TEST(CommunicatorTest, ARankMayLeaveItsGroupAndComeBack) {
  const auto scheduler = Seeded(1);
  Fabric fabric(*scheduler, 2);
  std::vector<std::unique_ptr<Communicator>> members(2);
  const auto run = [&] {
    for (const Status& status : RunRanks(*scheduler, 2, [&](int rank) {
           std::vector<float> data(kCount);
           return members[rank]->Run(AllReduce(kCount), Algorithm::kRing, data.data(), data.data());
         })) {
      EXPECT_TRUE(status.ok()) << status.ToString();
    }
  };
  for (int rank : {0, 1}) {
    members[rank] = std::move(Communicator::Create(fabric, {0, 1}, rank, 1)).value();
  }
  run();
  EXPECT_FALSE(Communicator::Create(fabric, {0, 1}, 0, 1).ok());
  members[0].reset();
  auto again = Communicator::Create(fabric, {0, 1}, 0, 1);
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  members[0] = std::move(again).value();
  run();
}

TEST(CommunicatorTest, SharedMemoryLivesUntilTheLastMemberHasLeft) {
  const auto scheduler = Seeded(1);
  Fabric fabric(*scheduler, 3);
  auto memory = std::make_shared<int>(0);
  std::vector<std::unique_ptr<Communicator>> members;
  for (int rank : {0, 1, 2}) {
    members.push_back(std::move(Communicator::Create(fabric, {0, 1, 2}, rank, 1)).value());
  }
  members[1]->Share(memory);
  const std::weak_ptr<int> watched = memory;
  memory.reset();
  for (int leaves : {1, 0, 2}) {
    EXPECT_FALSE(watched.expired());
    members[leaves].reset();
  }
  EXPECT_TRUE(watched.expired());
}

TEST(CommunicatorTest, ResolveKeepsAFormThatExistsAndElsePicksOne) {
  for (CollectiveKind kind : kAllKinds) {
    for (int members = 1; members <= 70; ++members) {
      for (int64_t count : {0, 1, 1000, 1 << 20}) {
        const CollectiveCall call = MakeCall(kind, DType::kFloat32, members, count, 0);
        for (Algorithm algorithm : kAllAlgorithms) {
          const Algorithm resolved = Resolve(call, algorithm, members);
          EXPECT_TRUE(HasForm(kind, resolved));
          if (HasForm(kind, algorithm)) {
            EXPECT_EQ(resolved, algorithm);
          }
        }
        if (!std::has_single_bit(static_cast<unsigned>(members))) {
          EXPECT_NE(Resolve(call, Algorithm::kAuto, members), Algorithm::kHalvingDoubling);
        }
      }
    }
  }
}

TEST(CommunicatorTest, AlgorithmNamesParseBack) {
  for (Algorithm algorithm : kAllAlgorithms) EXPECT_EQ(ParseAlgorithm(Name(algorithm)), algorithm);
  EXPECT_EQ(ParseAlgorithm("star"), std::nullopt);
}

// The plain sum from member 0 on: what direct promises, and nobody else.
TEST(CommunicatorTest, DirectSumsTheMembersInTheirOrder) {
  for (int world : {2, 3, 5, 8}) {
    const CollectiveCall call =
        MakeCall(CollectiveKind::kAllReduce, DType::kFloat64, world, kCount, 0);
    const auto scheduler = Seeded(1);
    Fabric fabric(*scheduler, world);
    RunRanks(*scheduler, world, [&](int rank) -> Status {
      TP_ASSIGN_OR_RETURN(const auto communicator,
                          Communicator::Create(fabric, Ranks(world), rank, 1));
      Buffers buffers(call, rank, world, Place::kInPlace);
      buffers.Fill(MakeInput(call, rank, world, Values::kFloats));
      TP_RETURN_IF_ERROR(communicator->Run(call, Algorithm::kDirect, buffers.in(), buffers.out()));
      buffers.Take();
      EXPECT_EQ(buffers.result(), Reference(call, rank, world, Values::kFloats));
      return OkStatus();
    });
  }
}

}  // namespace
}  // namespace tp::sim
