// Steps with one process a rank, two ranks and four: they give what threads give, and a rank that
// dies ends the others with an error that names it. This binary starts itself once a rank, as a
// launcher would.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backends/nccl/backend.h"
#include "tests/backends/nccl/small_step.h"
#include "tools/measure/train.h"
#include "tp/schedule/lower.h"

extern char** environ;

namespace tp::nccl {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr char kVictim[] = "TP_TEST_VICTIM";  // the rank that is to die
constexpr char kPeers[] = "TP_TEST_PEERS";

constexpr char kWorld[] = "WORLD_SIZE";

// Runs the test GpuWorker.`worker`, with the variable `more` in its environment.
pid_t SpawnWorker(const std::string& worker, int world, int rank, const std::string& more,
                  const std::string& log) {
  std::vector<std::string> variables = {fmt::format("RANK={}", rank),
                                        fmt::format("{}={}", kWorld, world),
                                        fmt::format("LOCAL_RANK={}", rank),
                                        "MASTER_ADDR=127.0.0.1",
                                        "MASTER_PORT=29617",
                                        more};
  std::vector<char*> environment;
  for (char** e = environ; *e != nullptr; ++e) environment.push_back(*e);
  for (std::string& v : variables) environment.push_back(v.data());
  environment.push_back(nullptr);
  std::string self = "/proc/self/exe", filter = "--gtest_filter=GpuWorker." + worker;
  std::string also = "--gtest_also_run_disabled_tests";
  char* arguments[] = {self.data(), filter.data(), also.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = -1;
  const std::string exe = std::filesystem::read_symlink("/proc/self/exe");
  CHECK_EQ(posix_spawn(&pid, exe.c_str(), &actions, nullptr, arguments, environment.data()), 0);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

// Waits for a worker, which writes its stack to its log if it has to be stopped.
int WaitFor(pid_t pid) {
  int state = 0;
  for (const auto until = Clock::now() + seconds(60); Clock::now() < until;) {
    if (waitpid(pid, &state, WNOHANG) == pid) return state;
    std::this_thread::sleep_for(milliseconds(10));
  }
  ADD_FAILURE() << "process " << pid << " did not end";
  kill(pid, SIGABRT);
  std::this_thread::sleep_for(seconds(2));
  kill(pid, SIGKILL);
  CHECK_EQ(waitpid(pid, &state, 0), pid);
  return state;
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Ended {
  int state = 0;  // as waitpid gives it
  std::string log;
};

std::vector<Ended> RunWorkers(const std::string& worker, int world, const std::string& more) {
  std::vector<Ended> ended(world);
  std::vector<std::string> logs(world);
  std::vector<pid_t> pids(world);
  for (int rank = 0; rank < world; ++rank) {
    logs[rank] = fmt::format("{}/worker{}_{}.log", testing::TempDir(), rank, getpid());
    pids[rank] = SpawnWorker(worker, world, rank, more, logs[rank]);
  }
  for (int rank = 0; rank < world; ++rank) {
    ended[rank].state = WaitFor(pids[rank]);
    ended[rank].log = ReadText(logs[rank]);
    std::remove(logs[rank].c_str());
  }
  return ended;
}

void ExpectToHaveSaid(const Ended& worker, const std::string& text) {
  EXPECT_TRUE(WIFEXITED(worker.state) && WEXITSTATUS(worker.state) == 0) << worker.log;
  EXPECT_THAT(worker.log, testing::HasSubstr(text));
}

class GpuProcesses : public testing::TestWithParam<std::pair<int, int>> {};

TEST_P(GpuProcesses, ADeadRankIsNamed) {
  const auto [world, victim] = GetParam();
  const auto workers =
      RunWorkers("DISABLED_TrainsUntilItIsKilled", world, fmt::format("{}={}", kVictim, victim));
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
  const auto workers =
      RunWorkers("DISABLED_PrintsWhatItTrained", world, fmt::format("{}={}", kPeers, Name(peers)));
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
  const char* world = std::getenv(kWorld);
  CHECK(world != nullptr) << kWorld;
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
