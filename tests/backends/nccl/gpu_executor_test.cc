// Whole steps by 1 to 8 ranks, on GPUs of their own as far as these go: a graph and single launches
// give the same bits, whatever way the collectives take; ops are timed; a rank that stalls or fails
// ends the others with an error that names it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "backends/nccl/backend.h"
#include "tests/backends/nccl/gpus.h"
#include "tests/backends/nccl/small_step.h"
#include "tools/measure/train.h"
#include "tp/schedule/lower.h"

namespace tp::nccl {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

void ExpectSameBits(const TrainResult& a, const TrainResult& b, const std::string& what) {
  EXPECT_EQ(a.losses, b.losses) << what;
  for (const auto* results : {&a, &b}) {
    EXPECT_THAT(results->replica_defects, testing::IsEmpty()) << what;
  }
  for (const auto& [name, tensor] : a.first) {
    EXPECT_EQ(tensor.ToDoubles(), b.first.at(name).ToDoubles()) << what << ": first " << name;
  }
  for (const auto& [name, tensor] : a.last) {
    EXPECT_EQ(tensor.ToDoubles(), b.last.at(name).ToDoubles()) << what << ": last " << name;
  }
}

// Sums over peer memory have the same bits in whatever way they are taken. NCCL's have them where
// there are two terms, which have one sum.
std::vector<Peers> WaysWithTheSameBits(int tp, int dp) {
  std::vector<Peers> ways = {Peers::kDirect, Peers::kMedium, Peers::kBulk};
  if (tp <= 2 && dp <= 2 && tp * dp <= CountGpus()) ways.push_back(Peers::kNever);
  return ways;
}

void CheckThatBitsAgree(LinearMode mode, DType dtype, int tp, int dp) {
  const std::string what = fmt::format("{} {} tp {} dp {}", Name(mode), Name(dtype), tp, dp);
  SCOPED_TRACE(what);
  Options options;
  options.share_gpus = true;
  options.gemm_search = false;  // what a search finds may differ from run to run
  const TrainResult graph = MustTrain(options, tp, dp, Small(mode, dtype));
  options.graph = false;
  const TrainResult eager = MustTrain(options, tp, dp, Small(mode, dtype));
  ExpectSameBits(graph, eager, what);
  EXPECT_LT(graph.losses.back(), graph.losses.front()) << what;
  for (Peers peers : WaysWithTheSameBits(tp, dp)) {
    options.peers = peers;
    const TrainResult other = MustTrain(options, tp, dp, Small(mode, dtype));
    ExpectSameBits(graph, other, fmt::format("{}, peers {}", what, Name(peers)));
  }
}

TEST(GpuExecutor, GraphAndEagerGiveTheSameBits) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    for (DType dtype : kAllDTypes) {
      for (auto [tp, dp] : {std::pair(1, 1), std::pair(2, 1), std::pair(1, 2)}) {
        CheckThatBitsAgree(mode, dtype, tp, dp);
      }
    }
  }
}

class GpuExecutorOnMesh : public testing::TestWithParam<std::pair<int, int>> {};

INSTANTIATE_TEST_SUITE_P(Meshes, GpuExecutorOnMesh,
                         testing::Values(std::pair(3, 1), std::pair(4, 1), std::pair(8, 1),
                                         std::pair(1, 4), std::pair(2, 2), std::pair(4, 2)),
                         [](const auto& mesh) {
                           return fmt::format("tp{}_dp{}", mesh.param.first, mesh.param.second);
                         });

TEST_P(GpuExecutorOnMesh, GivesTheSameBitsInEveryWay) {
  const auto [tp, dp] = GetParam();
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) CheckThatBitsAgree(mode, dtype, tp, dp);
  }
}

TEST(GpuExecutor, SearchedProductsAgreeBetweenReplicas) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    for (auto [tp, dp] :
         {std::pair(2, 1), std::pair(1, 2), std::pair(3, 1), std::pair(4, 1), std::pair(2, 2)}) {
      const TrainResult result =
          MustTrain({.share_gpus = true}, tp, dp, Small(mode, DType::kFloat32));
      EXPECT_THAT(result.replica_defects, testing::IsEmpty());
      EXPECT_LT(result.losses.back(), result.losses.front());
    }
  }
}

class GpuExecutorOf : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Ranks, GpuExecutorOf, testing::Values(2, 3, 4, 8));

TEST_P(GpuExecutorOf, TimesOpsInOrder) {
  const TrainResult result =
      MustTrain({.share_gpus = true}, GetParam(), 1, Small(LinearMode::kRow, DType::kFloat32));
  for (const RankRecord& rank : result.ranks) {
    for (const auto* steps : {&rank.steps, &rank.products}) {
      EXPECT_EQ(steps->size(), 3u);
      for (const StepRecord& step : *steps) EXPECT_GT(step.end_ns, step.begin_ns);
    }
    ASSERT_FALSE(rank.op_steps.empty());
    for (const StepRecord& step : rank.op_steps) {
      ASSERT_EQ(step.ops.size(), rank.schedule.ops.size());
      for (size_t i = 0; i < step.ops.size(); ++i) {
        EXPECT_LE(step.begin_ns, step.ops[i].begin_ns);
        EXPECT_LE(step.ops[i].begin_ns, step.ops[i].end_ns);
        EXPECT_LE(step.ops[i].end_ns, step.end_ns);
        for (int wait : rank.schedule.ops[i].waits) {
          EXPECT_LE(step.ops[wait].end_ns, step.ops[i].end_ns);
        }
      }
    }
  }
  int64_t sent = 0, expected = 0;
  for (const RankRecord& rank : result.ranks) {
    for (const OpRecord& op : rank.op_steps[0].ops) sent += op.bytes_sent;
  }
  for (int64_t bytes : result.ranks[0].expected_bytes) expected += bytes;
  EXPECT_EQ(sent, expected);
}

TEST(GpuExecutor, ChecksBeforeItAllocates) {
  const auto backend = MustMakeBackend({});
  EXPECT_THAT(backend->Check(1000, DType::kFloat32).message(),
              testing::HasSubstr("asks for 1000 ranks"));
  const auto tf32 = MustMakeBackend({.tf32 = true});
  EXPECT_EQ(tf32->Check(1, DType::kBFloat16).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(tf32->Check(1, DType::kFloat32).ok());
}

// The last rank does not start the step that the others wait for, and then comes too late.
void CheckThatAStalledRankMeetsTheDeadline(int world) {
  const int last = world - 1;
  for (bool graph : {true, false}) {
    const auto backend = MustMakeBackend({.deadline = milliseconds(3000), .graph = graph});
    const Mesh mesh = *Mesh::Create(world, 1);
    const Program program = MustMakeStep(Small(LinearMode::kColumn, DType::kFloat32), mesh);
    const auto begin = Clock::now();
    std::vector<Status> seen(world);
    const Status status = backend->Run(world, [&](RankContext& context) -> Status {
      TP_ASSIGN_OR_RETURN(const Schedule schedule, Lower(program, mesh, context.rank()));
      TP_ASSIGN_OR_RETURN(const auto executor, context.MakeExecutor(schedule));
      TP_RETURN_IF_ERROR(context.Barrier());
      Status& status = seen[context.rank()];
      if (context.rank() == last) std::this_thread::sleep_for(seconds(6));
      status = executor->EnqueueStep(StepKind::kWhole);
      if (context.rank() != last && status.ok()) status = executor->Synchronize();
      return status;
    });
    EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status.ToString();
    EXPECT_THAT(status.message(),
                testing::MatchesRegex("rank [0-6]: the step did not end in 3000 ms; rank " +
                                      std::to_string(last) +
                                      " has begun 0 steps, where others have begun 1"));
    EXPECT_EQ(seen[last].code(), StatusCode::kAborted) << seen[last].ToString();
    EXPECT_THAT(seen[last].message(), testing::MatchesRegex(".*rank [0-6] failed first.*"));
    EXPECT_LT(Clock::now() - begin, seconds(60));
  }
}

TEST(GpuExecutor, AStalledRankMeetsTheDeadline) {
  CheckThatAStalledRankMeetsTheDeadline(2);
  CheckThatAStalledRankMeetsTheDeadline(std::min(4, CountGpus()));
}

TEST_P(GpuExecutorOf, AFailingBodyEndsTheOthers) {
  const int world = std::min(GetParam(), CountGpus());
  const auto backend = MustMakeBackend({});
  const Mesh mesh = *Mesh::Create(world, 1);
  const Program program = MustMakeStep(Small(LinearMode::kRow, DType::kFloat32), mesh);
  const Status status = backend->Run(world, [&](RankContext& context) -> Status {
    TP_ASSIGN_OR_RETURN(const Schedule schedule, Lower(program, mesh, context.rank()));
    TP_ASSIGN_OR_RETURN(const auto executor, context.MakeExecutor(schedule));
    if (context.rank() == 1) return InvalidArgument("no more");
    TP_RETURN_IF_ERROR(executor->EnqueueStep(StepKind::kWhole));
    return executor->Synchronize();
  });
  EXPECT_EQ(status.ToString(), "INVALID_ARGUMENT: rank 1: no more");
}

}  // namespace
}  // namespace tp::nccl
