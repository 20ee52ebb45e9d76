// Whole steps on two GPUs: a graph and single launches give the same bits, whatever way the
// collectives take; ops are timed; a rank that stalls, fails or dies ends the others with an error
// that names it.
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
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "backends/nccl/backend.h"
#include "tp/core/random.h"
#include "tp/model/linear_step.h"
#include "tp/runtime/trainer.h"
#include "tp/schedule/lower.h"

extern char** environ;

namespace tp::nccl {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

std::unique_ptr<Backend> MustMakeBackend(const Options& options) {
  auto backend = MakeBackend(options);
  CHECK(backend.ok()) << backend.status().ToString();
  return *std::move(backend);
}

LinearStepOptions Small(LinearMode mode, DType dtype) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = 20;
  options.in_features = 100;
  options.out_features = 101;  // does not divide
  options.dtype = dtype;
  options.learning_rate = 4;  // large enough for a bf16 weight to move, small enough to converge
  return options;
}

Program MustMakeStep(const LinearStepOptions& options, const Mesh& mesh) {
  auto program = MakeLinearStep(options, mesh);
  CHECK(program.ok()) << program.status().ToString();
  return *std::move(program);
}

std::map<std::string, ElementSource> Sources() {
  std::map<std::string, ElementSource> sources;
  uint64_t stream = 0;
  for (const char* name : {"x", "targets", "w", "b"}) {
    const RandomTensor random(7, stream++);
    sources[name] = [random](int64_t i) { return random.Uniform(i); };
  }
  return sources;
}

TrainOptions Short() {
  TrainOptions options;
  options.warmup = 1;
  options.steps = 3;
  options.time_products = true;
  return options;
}

TrainResult MustTrain(const Options& options, int tp, int dp, const LinearStepOptions& step) {
  const auto backend = MustMakeBackend(options);
  const Mesh mesh = *Mesh::Create(tp, dp);
  auto result = Train(*backend, mesh, MustMakeStep(step, mesh), Sources(), Short());
  CHECK(result.ok()) << result.status().ToString();
  return *std::move(result);
}

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

TEST(GpuExecutor, GraphAndEagerGiveTheSameBits) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    for (DType dtype : kAllDTypes) {
      for (auto [tp, dp] : {std::pair(1, 1), std::pair(2, 1), std::pair(1, 2)}) {
        const std::string what =
            fmt::format("mode {} {} tp {} dp {}", static_cast<int>(mode), Name(dtype), tp, dp);
        Options options;
        options.gemm_search = false;  // what a search finds may differ from run to run
        const TrainResult graph = MustTrain(options, tp, dp, Small(mode, dtype));
        options.graph = false;
        const TrainResult eager = MustTrain(options, tp, dp, Small(mode, dtype));
        ExpectSameBits(graph, eager, what);
        EXPECT_LT(graph.losses.back(), graph.losses.front()) << what;
        // Two terms have one sum, whatever the algorithm.
        for (Peers peers : {Peers::kNever, Peers::kDirect, Peers::kBulk}) {
          options.peers = peers;
          const TrainResult other = MustTrain(options, tp, dp, Small(mode, dtype));
          ExpectSameBits(graph, other, fmt::format("{}, peers {}", what, Name(peers)));
        }
      }
    }
  }
}

TEST(GpuExecutor, SearchedProductsAgreeBetweenReplicas) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    for (auto [tp, dp] : {std::pair(2, 1), std::pair(1, 2)}) {
      const TrainResult result = MustTrain({}, tp, dp, Small(mode, DType::kFloat32));
      EXPECT_THAT(result.replica_defects, testing::IsEmpty());
      EXPECT_LT(result.losses.back(), result.losses.front());
    }
  }
}

TEST(GpuExecutor, TimesOpsInOrder) {
  const TrainResult result = MustTrain({}, 2, 1, Small(LinearMode::kRow, DType::kFloat32));
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

// Rank 1 never starts the step that rank 0 waits for.
TEST(GpuExecutor, AStalledRankMeetsTheDeadline) {
  for (bool graph : {true, false}) {
    const auto backend = MustMakeBackend({.deadline = milliseconds(3000), .graph = graph});
    const Mesh mesh = *Mesh::Create(2, 1);
    const Program program = MustMakeStep(Small(LinearMode::kColumn, DType::kFloat32), mesh);
    const auto begin = Clock::now();
    Status seen[2];
    const Status status = backend->Run(2, [&](RankContext& context) -> Status {
      TP_ASSIGN_OR_RETURN(const Schedule schedule, Lower(program, mesh, context.rank()));
      TP_ASSIGN_OR_RETURN(const auto executor, context.MakeExecutor(schedule));
      TP_RETURN_IF_ERROR(context.Barrier());
      if (context.rank() == 1) std::this_thread::sleep_for(seconds(6));
      seen[context.rank()] = executor->EnqueueStep(StepKind::kWhole);
      if (seen[context.rank()].ok()) seen[context.rank()] = executor->Synchronize();
      return seen[context.rank()];
    });
    EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status.ToString();
    EXPECT_THAT(status.message(), testing::StartsWith("rank 0: the step did not end in 3000 ms"));
    EXPECT_EQ(seen[1].code(), StatusCode::kAborted) << seen[1].ToString();
    EXPECT_THAT(seen[1].message(), testing::HasSubstr("rank 0 failed first"));
    EXPECT_LT(Clock::now() - begin, seconds(60));
  }
}

TEST(GpuExecutor, AFailingBodyEndsTheOthers) {
  const auto backend = MustMakeBackend({});
  const Mesh mesh = *Mesh::Create(2, 1);
  const Program program = MustMakeStep(Small(LinearMode::kRow, DType::kFloat32), mesh);
  const Status status = backend->Run(2, [&](RankContext& context) -> Status {
    TP_ASSIGN_OR_RETURN(const Schedule schedule, Lower(program, mesh, context.rank()));
    TP_ASSIGN_OR_RETURN(const auto executor, context.MakeExecutor(schedule));
    if (context.rank() == 1) return InvalidArgument("no more");
    TP_RETURN_IF_ERROR(executor->EnqueueStep(StepKind::kWhole));
    return executor->Synchronize();
  });
  EXPECT_EQ(status.ToString(), "INVALID_ARGUMENT: rank 1: no more");
}

// One process a rank. This binary starts itself twice, as a launcher would, with the filter below.
constexpr char kWorkerFilter[] = "--gtest_filter=GpuWorker.DISABLED_TrainsUntilItIsKilled";
constexpr char kVictim[] = "TP_TEST_VICTIM";  // the rank that is to die, or -1

pid_t SpawnWorker(int rank, int victim, const std::string& log) {
  std::vector<std::string> variables = {
      fmt::format("RANK={}", rank), "WORLD_SIZE=2",      fmt::format("LOCAL_RANK={}", rank),
      "MASTER_ADDR=127.0.0.1",      "MASTER_PORT=29617", fmt::format("{}={}", kVictim, victim)};
  std::vector<char*> environment;
  for (char** e = environ; *e != nullptr; ++e) environment.push_back(*e);
  for (std::string& v : variables) environment.push_back(v.data());
  environment.push_back(nullptr);
  std::string self = "/proc/self/exe", filter = kWorkerFilter;
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

class GpuProcesses : public testing::TestWithParam<int> {};

TEST_P(GpuProcesses, ADeadRankIsNamed) {
  const int victim = GetParam();
  std::string logs[2];
  pid_t pids[2];
  for (int rank = 0; rank < 2; ++rank) {
    logs[rank] = fmt::format("{}/worker{}_{}.log", testing::TempDir(), rank, getpid());
    pids[rank] = SpawnWorker(rank, victim, logs[rank]);
  }
  const auto begin = Clock::now();
  for (int rank = 0; rank < 2; ++rank) {
    const int state = WaitFor(pids[rank]);
    const std::string log = ReadText(logs[rank]);
    if (rank == victim) {
      EXPECT_TRUE(WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL) << log;
    } else {
      EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0) << log;
      const std::string expected =
          victim < 0 ? "trained"
                     : fmt::format("ended with: INTERNAL: rank {}: its process", victim);
      EXPECT_THAT(log, testing::HasSubstr(expected));
    }
    std::remove(logs[rank].c_str());
  }
  EXPECT_LT(Clock::now() - begin, seconds(120));
}

INSTANTIATE_TEST_SUITE_P(Victim, GpuProcesses, testing::Values(-1, 0, 1));

// Run by ADeadRankIsNamed only.
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
    TP_ASSIGN_OR_RETURN(const auto all, context.GatherToRoot(std::to_string(context.rank())));
    if (context.rank() == 0) {
      EXPECT_THAT(all, testing::ElementsAre("0", "1"));
    }
    return OkStatus();
  });
  EXPECT_EQ(steps, victim < 0 ? 50 : 20);
  fmt::print("{}\n", status.ok() ? "trained" : "ended with: " + status.ToString());
}

}  // namespace
}  // namespace tp::nccl
