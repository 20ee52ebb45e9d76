// Collectives runs on the CPU backend: right results, planted faults, and what the report says.

#include "tools/collectives/run.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/planted/faulty_endpoint.h"
#include "tools/collectives/print.h"

namespace tp::collective_bench {
namespace {

CollectiveOptions Options(std::vector<CollectiveKind> kinds, int tp, int dp = 1) {
  CollectiveOptions options;
  options.engine.tp = tp;
  options.engine.dp = dp;
  options.engine.steps = 2;
  options.engine.warmup = 1;
  options.kinds = std::move(kinds);
  options.min_bytes = 1000;
  options.max_bytes = 4000;
  options.per_step = 3;
  return options;
}

const std::vector<CollectiveKind> kAll = {CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                                          CollectiveKind::kReduceScatter,
                                          CollectiveKind::kBroadcast, CollectiveKind::kAllToAll};

// What all ranks together send, at the least (tp/core/collective.h); of an all_to_all each member
// sends all of its `bytes` but a block.
int64_t Moved(CollectiveKind kind, int64_t bytes, int tp, int dp) {
  return (kind == CollectiveKind::kAllReduce ? 2 : 1) * (tp - 1) * dp * bytes;
}

// The CPU backend, whose executors do only the first `steps_run` steps, say of the last step what
// `record` says for the rank, where it says anything, and of each algorithm that it sends
// `more_bytes` more than it does.
struct Change {
  int steps_run = std::numeric_limits<int>::max();
  std::function<StepRecord(int rank)> record;
  int64_t more_bytes = 0;
};

class ChangedExecutor final : public Executor {
 public:
  ChangedExecutor(const Change& change, int rank, std::unique_ptr<Executor> executor)
      : executor_(std::move(executor)),
        steps_left_(change.steps_run),
        changed_(change.record),
        more_bytes_(change.more_bytes) {
    if (changed_) record_ = change.record(rank);
  }

  Status Write(BufferId buffer, std::span<const std::byte> bytes) override {
    return executor_->Write(buffer, bytes);
  }
  Status Read(BufferId buffer, std::span<std::byte> bytes) override {
    return executor_->Read(buffer, bytes);
  }
  Status Feed(const Region& region, std::span<const std::byte> bytes) override {
    return executor_->Feed(region, bytes);
  }
  Status EnqueueStep(StepKind kind) override {
    return steps_left_-- > 0 ? executor_->EnqueueStep(kind) : OkStatus();
  }
  Status Synchronize() override { return executor_->Synchronize(); }
  void TimeOps(bool on) override { executor_->TimeOps(on); }
  bool OpTimesAreFree() const override { return executor_->OpTimesAreFree(); }
  Status Profile(bool on) override { return executor_->Profile(on); }
  StatusOr<StepRecord> CollectProfile() override { return executor_->CollectProfile(); }
  DeviceInfo Device() const override { return executor_->Device(); }
  const StepRecord& LastStep() const override { return changed_ ? record_ : executor_->LastStep(); }
  AllocatedMemory Allocated() const override { return executor_->Allocated(); }
  std::string AlgorithmOf(int index) const override { return executor_->AlgorithmOf(index); }
  int64_t ExpectedBytes(int index) const override {
    return executor_->ExpectedBytes(index) + more_bytes_;
  }

 private:
  const std::unique_ptr<Executor> executor_;
  int steps_left_;
  const bool changed_;
  const int64_t more_bytes_;
  StepRecord record_;
};

class ChangedRank final : public RankContext {
 public:
  ChangedRank(const Change& change, RankContext& context) : change_(change), context_(context) {}

  int rank() const override { return context_.rank(); }
  int world() const override { return context_.world(); }
  Status Barrier() override { return context_.Barrier(); }
  StatusOr<std::vector<std::string>> GatherToRoot(std::string bytes) override {
    return context_.GatherToRoot(std::move(bytes));
  }
  StatusOr<std::vector<std::string>> GatherToAll(std::string bytes) override {
    return context_.GatherToAll(std::move(bytes));
  }
  Status AwaitOutside(const std::function<void()>& wait) override {
    return context_.AwaitOutside(wait);
  }
  const Clock& clock() const override { return context_.clock(); }
  StatusOr<std::unique_ptr<Executor>> MakeExecutor(const Schedule& schedule) override {
    TP_ASSIGN_OR_RETURN(std::unique_ptr<Executor> executor, context_.MakeExecutor(schedule));
    return std::unique_ptr<Executor>(
        std::make_unique<ChangedExecutor>(change_, rank(), std::move(executor)));
  }

 private:
  const Change& change_;
  RankContext& context_;
};

class ChangedBackend final : public Backend {
 public:
  explicit ChangedBackend(Change change) : change_(std::move(change)) {}

  std::string name() const override { return "changed"; }
  std::vector<std::pair<std::string, std::string>> Describe() const override { return {}; }
  Status Check(int, DType) const override { return OkStatus(); }
  int DefaultTp(int) const override { return 2; }
  bool IsRoot() const override { return true; }
  Status Run(int world, const std::function<Status(RankContext&)>& body) override {
    return backend_->Run(world, [&](RankContext& context) {
      ChangedRank rank(change_, context);
      return body(rank);
    });
  }

 private:
  const Change change_;
  const std::unique_ptr<Backend> backend_ = cpu::MakeCpuBackend({});
};

TEST(Collectives, EveryElementIsRightOnEveryMesh) {
  for (DType dtype : kAllDTypes) {
    for (const auto& [tp, dp] : {std::pair(2, 1), std::pair(3, 2), std::pair(8, 1)}) {
      CollectiveOptions options = Options(kAll, tp, dp);
      options.engine.dtype = dtype;
      const auto backend = cpu::MakeCpuBackend({});
      const StatusOr<CollectiveResult> result = RunCollectives(*backend, options);
      ASSERT_TRUE(result.ok()) << result.status().ToString();
      ASSERT_EQ(result->rows.size(), 10u);
      EXPECT_TRUE(result->ok());
      for (const Row& row : result->rows) {
        const CollectiveKind kind = row.which.kind;
        EXPECT_EQ(row.wrong, 0) << Name(kind);
        // Every rank's result in each of the three: a shard of reduce_scatter, else the whole.
        const int64_t ranks = kind == CollectiveKind::kReduceScatter ? dp : tp * dp;
        EXPECT_EQ(row.checked, 3 * ranks * row.which.elements) << Name(kind);
        EXPECT_EQ(row.moved_bytes, Moved(kind, row.which.bytes(), tp, dp)) << Name(kind);
        EXPECT_EQ(row.in_place, kind == CollectiveKind::kAllGather) << Name(kind);
        EXPECT_GT(row.time_us.min, 0) << Name(kind);
      }
    }
  }
}

// Member 0 adds one to each sum that it completes: with two members and the direct algorithm, those
// of its own half, which in an all_reduce the other one gets from it.
TEST(Collectives, WrongElementsAreCountedOneByOne) {
  cpu::CpuBackendOptions faulty;
  faulty.all_reduce = sim::Algorithm::kDirect;
  faulty.wrap_endpoint =
      planted::CombineBy([](double local, double received) { return local + received + 1; },
                         [](int member, int, int) { return member == 0; });
  const auto backend = cpu::MakeCpuBackend(faulty);
  CollectiveOptions options = Options(kAll, 2);
  options.max_bytes = options.min_bytes;
  const StatusOr<CollectiveResult> result = RunCollectives(*backend, options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_FALSE(result->ok());
  for (const Row& row : result->rows) {
    const int64_t half = 3 * row.which.elements / 2;
    const int64_t wrong = row.which.kind == CollectiveKind::kAllReduce       ? 2 * half
                          : row.which.kind == CollectiveKind::kReduceScatter ? half
                                                                             : 0;
    EXPECT_EQ(row.wrong, wrong) << Name(row.which.kind);
    EXPECT_EQ(row.ok(), wrong == 0) << Name(row.which.kind);
  }
  EXPECT_NE(RenderVerdict(options, *result).find("Verdict: 1125 of"), std::string::npos)
      << RenderVerdict(options, *result);
  EXPECT_FALSE(nlohmann::json::parse(ToJson(options, {}, *result)).at("ok").get<bool>());
}

// Each timed step hands over two, and so does the warm-up: all of them run, and the last one, which
// is for the check, does not.
TEST(Collectives, AResultOfAnEarlierStepDoesNotCount) {
  const CollectiveOptions options = Options(kAll, 2);
  const int before = 2 * (options.engine.warmup + options.engine.steps);
  ChangedBackend idle({.steps_run = before, .record = nullptr});
  const StatusOr<CollectiveResult> result = RunCollectives(idle, options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  for (const Row& row : result->rows) {
    // An all_gather in place has its own half without any step.
    const int64_t right = row.in_place ? row.checked / 2 : 0;
    EXPECT_EQ(row.wrong, row.checked - right) << Name(row.which.kind);
  }
  ChangedBackend busy({.steps_run = before + 1, .record = nullptr});
  const StatusOr<CollectiveResult> all = RunCollectives(busy, options);
  ASSERT_TRUE(all.ok()) << all.status().ToString();
  EXPECT_TRUE(all->ok());
}

TEST(Collectives, TimeIsTheSlowestRanksStepOverItsCollectives) {
  const CollectiveOptions options = Options({CollectiveKind::kAllReduce}, 2);
  // From the first op's beginning to the last one's end, whichever they are.
  ChangedBackend with_ops({.record = [](int rank) {
    return StepRecord{0, 99000, {{2000, 5000, 0}, {1000, 3000, 0}, {4000, 7000 + 3000 * rank, 0}}};
  }});
  StatusOr<CollectiveResult> result = RunCollectives(with_ops, options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_DOUBLE_EQ(result->rows[0].time_us.median, 9.0 / 3);
  EXPECT_DOUBLE_EQ(result->rows[0].algbw_gbps, 1000 / 3e3);
  ChangedBackend without_ops({.record = [](int rank) {
    return StepRecord{1000, 13000 - 3000 * rank, {}};
  }});
  result = RunCollectives(without_ops, options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_DOUBLE_EQ(result->rows[0].time_us.median, 12.0 / 3);
  EXPECT_FALSE(result->ok());  // no byte was sent
}

// What counts is what the algorithm says; the least that could be is printed beside it.
TEST(Collectives, BytesAreHeldAgainstTheAlgorithm) {
  const CollectiveOptions options = Options(kAll, 3);
  for (int64_t more : {-4, 0, 4}) {
    ChangedBackend backend({.record = nullptr, .more_bytes = more});
    const StatusOr<CollectiveResult> result = RunCollectives(backend, options);
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    EXPECT_EQ(result->ok(), more == 0);
    for (const Row& row : result->rows) {
      EXPECT_EQ(row.wrong, 0);
      EXPECT_EQ(row.algorithm_bytes, row.moved_bytes + more) << Name(row.which.kind);
      EXPECT_EQ(row.contract_bytes, row.moved_bytes) << Name(row.which.kind);
    }
    const std::string row = RenderRow(result->rows.front());
    EXPECT_EQ(row.find("WRONG BYTES") != std::string::npos, more != 0) << row;
    const bool says_so =
        RenderVerdict(options, *result).find("other bytes than they must") != std::string::npos;
    EXPECT_EQ(says_so, more != 0) << RenderVerdict(options, *result);
  }
}

TEST(Collectives, BandwidthsAreThoseOfNcclTests) {
  const auto backend = cpu::MakeCpuBackend({});
  const CollectiveOptions options = Options(kAll, 4);
  const StatusOr<CollectiveResult> result = RunCollectives(*backend, options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  const nlohmann::json json = nlohmann::json::parse(ToJson(options, {}, *result));
  for (const nlohmann::json& row : json.at("results")) {
    const std::string kind = row.at("collective");
    const double seconds = row.at("time_us").at("median").get<double>() / 1e6;
    const double algbw = row.at("bytes").get<double>() / seconds / 1e9;
    const double factor = kind == "all_reduce" ? 1.5 : kind == "broadcast" ? 1 : 0.75;
    EXPECT_DOUBLE_EQ(row.at("algbw_gbps").get<double>(), algbw) << kind;
    EXPECT_DOUBLE_EQ(row.at("busbw_gbps").get<double>(), algbw * factor) << kind;
  }
}

TEST(Collectives, AStepHasEnoughOfThem) {
  CollectiveOptions options;
  EXPECT_EQ(options.PerStep(1024), 20);
  EXPECT_EQ(options.PerStep(4 << 20), 3);
  options.per_step = 7;
  EXPECT_EQ(options.PerStep(1024), 7);
  options.min_bytes = 10;
  options.max_bytes = 100;
  options.factor = 3;
  EXPECT_EQ(options.Sizes(), (std::vector<int64_t>{10, 30, 90}));
}

}  // namespace
}  // namespace tp::collective_bench
