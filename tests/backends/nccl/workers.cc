#include "tests/backends/nccl/workers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>
#include <utility>

#include "tests/backends/nccl/free_port.h"

extern char** environ;

namespace tp::nccl {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

// Its own variables, and those that Bazel sets for it.
bool IsForGoogletest(std::string_view variable) {
  return variable.starts_with("GTEST_") || variable.starts_with("XML_OUTPUT_FILE=") ||
         variable.starts_with("TEST_PREMATURE_EXIT_FILE=");
}

// `own`, then what this process has: of two variables of one name the first counts.
std::vector<std::string> EnvironmentOfWorker(std::vector<std::string> own) {
  for (char** e = environ; *e != nullptr; ++e) {
    if (!IsForGoogletest(*e)) own.emplace_back(*e);
  }
  return own;
}

// Runs `test` with `own` in its environment.
pid_t SpawnWorker(const std::string& test, std::vector<std::string> own, const std::string& log) {
  std::vector<std::string> variables = EnvironmentOfWorker(std::move(own));
  std::vector<char*> environment;
  for (std::string& v : variables) environment.push_back(v.data());
  environment.push_back(nullptr);
  std::string self = "/proc/self/exe", filter = "--gtest_filter=" + test;
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
  for (const auto until = Clock::now() + seconds(120); Clock::now() < until;) {
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

// A worker for each environment, all at once.
std::vector<Ended> RunAll(const std::string& test,
                          const std::vector<std::vector<std::string>>& environments) {
  std::vector<std::string> logs;
  std::vector<pid_t> pids;
  for (const std::vector<std::string>& own : environments) {
    logs.push_back(fmt::format("{}/worker{}_{}.log", testing::TempDir(), logs.size(), getpid()));
    pids.push_back(SpawnWorker(test, own, logs.back()));
  }
  std::vector<Ended> ended;
  for (size_t i = 0; i < pids.size(); ++i) {
    const int state = WaitFor(pids[i]);
    ended.push_back({state, ReadText(logs[i])});
    std::remove(logs[i].c_str());
  }
  return ended;
}

}  // namespace

Ended RunAlone(const std::string& test, const std::vector<std::string>& own) {
  return RunAll(test, {own})[0];
}

std::vector<Ended> RunWorkers(const std::string& test, int world, const std::string& more) {
  std::vector<std::vector<std::string>> environments;
  const int port = FreePort();  // runs at one time do not meet
  for (int rank = 0; rank < world; ++rank) {
    environments.push_back({fmt::format("RANK={}", rank), fmt::format("WORLD_SIZE={}", world),
                            fmt::format("LOCAL_RANK={}", rank), "MASTER_ADDR=127.0.0.1",
                            fmt::format("MASTER_PORT={}", port - 1),
                            more});  // one below where they meet (launch.h)
  }
  return RunAll(test, environments);
}

void ExpectToHaveSaid(const Ended& worker, const std::string& text) {
  EXPECT_TRUE(WIFEXITED(worker.state) && WEXITSTATUS(worker.state) == 0) << worker.log;
  EXPECT_THAT(worker.log, testing::HasSubstr(text));
  EXPECT_THAT(worker.log, testing::HasSubstr("[  PASSED  ] 1 test."));
}

}  // namespace tp::nccl
