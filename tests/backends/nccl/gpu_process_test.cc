// Steps with one process a rank, two ranks and four: they give what threads give, and a rank that
// dies ends the others with an error that names it. This binary starts itself once a rank
// (workers.h).
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "backends/nccl/backend.h"
#include "tests/backends/nccl/small_step.h"
#include "tests/backends/nccl/workers.h"
#include "tools/measure/train.h"
#include "tp/schedule/lower.h"

namespace tp::nccl {
namespace {

using std::chrono::seconds;

constexpr char kVictim[] = "TP_TEST_VICTIM";  // the rank that is to die
constexpr char kPeers[] = "TP_TEST_PEERS";

class GpuProcesses : public testing::TestWithParam<std::pair<int, int>> {};

TEST_P(GpuProcesses, ADeadRankIsNamed) {
  const auto [world, victim] = GetParam();
  const auto workers = RunWorkers("GpuWorker.DISABLED_TrainsUntilItIsKilled", world,
                                  fmt::format("{}={}", kVictim, victim));
  EXPECT_TRUE(WIFSIGNALED(workers[victim].state) && WTERMSIG(workers[victim].state) == SIGKILL)
      << workers[victim].log;
  for (int rank = 0; rank < world; ++rank) {
    if (rank == victim) continue;
    ExpectToHaveSaid(workers[rank],
                     fmt::format("ended with: INTERNAL: rank {}: its process", victim));
  }
}

INSTANTIATE_TEST_SUITE_P(Victim, GpuProcesses,
                         testing::Values(std::pair(2, 0), std::pair(2, 1), std::pair(4, 0),
                                         std::pair(4, 2)),
                         [](const auto& info) {
                           return fmt::format("{}of{}", info.param.second, info.param.first);
                         });

std::string TextOf(const TrainResult& result) {
  std::string text;
  for (double loss : result.losses) text += fmt::format("loss {:a}\n", loss);
  for (const auto& [name, tensor] : result.last) {
    text += fmt::format("{} {:a}\n", name, fmt::join(tensor.ToDoubles(), " "));
  }
  return text;
}

TrainResult TrainWith(Peers peers, int tp) {
  Options options;
  options.gemm_search = false;  // what a search finds may differ from run to run
  options.peers = peers;
  options.share_gpus = true;
  return MustTrain(options, tp, 1, Small(LinearMode::kColumn, DType::kFloat32));
}

class GpuProcessesOf : public testing::TestWithParam<std::pair<int, Peers>> {};

TEST_P(GpuProcessesOf, GiveTheBitsOfThreads) {
  const auto [world, peers] = GetParam();
  const auto workers = RunWorkers("GpuWorker.DISABLED_PrintsWhatItTrained", world,
                                  fmt::format("{}={}", kPeers, Name(peers)));
  const std::string expected = TextOf(TrainWith(peers, world));
  ASSERT_THAT(expected, testing::HasSubstr("loss"));
  ExpectToHaveSaid(workers[0], expected);
  for (int rank = 1; rank < world; ++rank) ExpectToHaveSaid(workers[rank], "");
}

INSTANTIATE_TEST_SUITE_P(Peers, GpuProcessesOf,
                         testing::Values(std::pair(2, Peers::kNever), std::pair(2, Peers::kDirect),
                                         std::pair(2, Peers::kBulk), std::pair(4, Peers::kDirect),
                                         std::pair(4, Peers::kMedium), std::pair(4, Peers::kBulk)),
                         [](const auto& info) {
                           return fmt::format("{}_{}", Name(info.param.second), info.param.first);
                         });

// The rest is run by the tests above only.
int World() {
  const char* world = std::getenv("WORLD_SIZE");
  CHECK(world != nullptr);
  return std::atoi(world);
}

TEST(GpuWorker, DISABLED_PrintsWhatItTrained) {
  const char* peers = std::getenv(kPeers);
  ASSERT_NE(peers, nullptr);
  fmt::print("{}", TextOf(TrainWith(*ParsePeers(peers), World())));
}

TEST(GpuWorker, DISABLED_TrainsUntilItIsKilled) {
  google::InstallFailureSignalHandler();
  const char* victim_text = std::getenv(kVictim);
  ASSERT_NE(victim_text, nullptr);
  const int victim = std::atoi(victim_text);
  const auto backend = MustMakeBackend({.deadline = seconds(20), .share_gpus = true});
  const Mesh mesh = *Mesh::Create(World(), 1);
  const Program program = MustMakeStep(Small(LinearMode::kColumn, DType::kFloat32), mesh);
  int64_t steps = 0;
  const Status status = backend->Run(World(), [&](RankContext& context) -> Status {
    TP_ASSIGN_OR_RETURN(const Schedule schedule, Lower(program, mesh, context.rank()));
    TP_ASSIGN_OR_RETURN(const auto executor, context.MakeExecutor(schedule));
    for (int step = 0; step < 50; ++step) {
      if (step == 20 && context.rank() == victim) kill(getpid(), SIGKILL);
      TP_RETURN_IF_ERROR(executor->EnqueueStep(StepKind::kWhole));
      TP_RETURN_IF_ERROR(executor->Synchronize());
      ++steps;
    }
    return OkStatus();
  });
  EXPECT_EQ(steps, 20);
  fmt::print("ended with: {}\n", status.ToString());
}

}  // namespace
}  // namespace tp::nccl
