// Steps with one process a rank, on two GPUs: they give what threads give, and a rank that dies
// ends the others with an error that names it. This binary starts itself twice, as a launcher
// would.
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

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "backends/nccl/backend.h"
#include "tests/backends/nccl/small_step.h"
#include "tp/runtime/trainer.h"
#include "tp/schedule/lower.h"

extern char** environ;

namespace tp::nccl {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr char kVictim[] = "TP_TEST_VICTIM";  // the rank that is to die
constexpr char kPeers[] = "TP_TEST_PEERS";

// Runs the test GpuWorker.`worker`, with the variable `more` in its environment.
pid_t SpawnWorker(const std::string& worker, int rank, const std::string& more,
                  const std::string& log) {
  std::vector<std::string> variables = {
      fmt::format("RANK={}", rank), "WORLD_SIZE=2",      fmt::format("LOCAL_RANK={}", rank),
      "MASTER_ADDR=127.0.0.1",      "MASTER_PORT=29617", more};
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

std::array<Ended, 2> RunWorkers(const std::string& worker, const std::string& more) {
  std::array<Ended, 2> ended;
  std::string logs[2];
  pid_t pids[2];
  for (int rank = 0; rank < 2; ++rank) {
    logs[rank] = fmt::format("{}/worker{}_{}.log", testing::TempDir(), rank, getpid());
    pids[rank] = SpawnWorker(worker, rank, more, logs[rank]);
  }
  for (int rank = 0; rank < 2; ++rank) {
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

class GpuProcesses : public testing::TestWithParam<int> {};

TEST_P(GpuProcesses, ADeadRankIsNamed) {
  const int victim = GetParam();
  const auto workers =
      RunWorkers("DISABLED_TrainsUntilItIsKilled", fmt::format("{}={}", kVictim, victim));
  EXPECT_TRUE(WIFSIGNALED(workers[victim].state) && WTERMSIG(workers[victim].state) == SIGKILL)
      << workers[victim].log;
  ExpectToHaveSaid(workers[1 - victim],
                   fmt::format("ended with: INTERNAL: rank {}: its process", victim));
}

INSTANTIATE_TEST_SUITE_P(Victim, GpuProcesses, testing::Values(0, 1));

std::string TextOf(const TrainResult& result) {
  std::string text;
  for (double loss : result.losses) text += fmt::format("loss {:a}\n", loss);
  for (const auto& [name, tensor] : result.last) {
    text += fmt::format("{} {:a}\n", name, fmt::join(tensor.ToDoubles(), " "));
  }
  return text;
}

TrainResult TrainWith(Peers peers) {
  Options options;
  options.gemm_search = false;  // what a search finds may differ from run to run
  options.peers = peers;
  return MustTrain(options, 2, 1, Small(LinearMode::kColumn, DType::kFloat32));
}

class GpuProcessesOf : public testing::TestWithParam<Peers> {};

TEST_P(GpuProcessesOf, GiveTheBitsOfThreads) {
  const std::string peers(Name(GetParam()));
  const auto workers =
      RunWorkers("DISABLED_PrintsWhatItTrained", fmt::format("{}={}", kPeers, peers));
  const std::string expected = TextOf(TrainWith(GetParam()));
  ASSERT_THAT(expected, testing::HasSubstr("loss"));
  ExpectToHaveSaid(workers[0], expected);
  ExpectToHaveSaid(workers[1], "");
}

INSTANTIATE_TEST_SUITE_P(Peers, GpuProcessesOf,
                         testing::Values(Peers::kNever, Peers::kDirect, Peers::kBulk),
                         [](const auto& info) { return std::string(Name(info.param)); });

// The rest is run by the tests above only.
TEST(GpuWorker, DISABLED_PrintsWhatItTrained) {
  const char* peers = std::getenv(kPeers);
  ASSERT_NE(peers, nullptr);
  fmt::print("{}", TextOf(TrainWith(*ParsePeers(peers))));
}

TEST(GpuWorker, DISABLED_TrainsUntilItIsKilled) {
  google::InstallFailureSignalHandler();
  const char* victim_text = std::getenv(kVictim);
  ASSERT_NE(victim_text, nullptr);
  const int victim = std::atoi(victim_text);
  const auto backend = MustMakeBackend({.deadline = seconds(20)});
  const Mesh mesh = *Mesh::Create(2, 1);
  const Program program = MustMakeStep(Small(LinearMode::kColumn, DType::kFloat32), mesh);
  int64_t steps = 0;
  const Status status = backend->Run(2, [&](RankContext& context) -> Status {
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
