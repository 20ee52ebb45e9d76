// What ranks are told when one of them fails, stays away, or calls something else.
#include <glog/logging.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "sim/fabric/endpoint.h"
#include "tests/backends/cpu/linear_schedules.h"
#include "tp/runtime/backend.h"

namespace tp {
namespace {

using cpu::CpuBackendOptions;
using cpu::SchedulerKind;

// Long enough for every rank that does come, on a slow machine too.
constexpr std::chrono::milliseconds kSoon{1000};

CpuBackendOptions Seeded(uint64_t seed) {
  CpuBackendOptions options;
  options.scheduler = SchedulerKind::kSeeded;
  options.scheduler_seed = seed;
  return options;
}

std::vector<CpuBackendOptions> AllSchedulers() {
  std::vector<CpuBackendOptions> all = {{}};
  for (uint64_t seed = 0; seed < 20; ++seed) all.push_back(Seeded(seed));
  return all;
}

bool Contains(const Status& status, const std::string& text) {
  return status.message().find(text) != std::string::npos;
}

struct Outcome {
  Status run;                 // what Run returned
  std::vector<Status> ranks;  // what each body returned
};

Outcome RunBodies(const CpuBackendOptions& options, int world,
                  const std::function<Status(RankContext&)>& body) {
  Outcome outcome;
  outcome.ranks.resize(world);
  outcome.run = cpu::MakeCpuBackend(options)->Run(
      world, [&](RankContext& context) { return outcome.ranks[context.rank()] = body(context); });
  return outcome;
}

// A body that trains some steps, with a hook before each.
using Hook = std::function<Status(RankContext&, int step)>;
Outcome RunSteps(const CpuBackendOptions& options, const std::vector<Schedule>& schedules,
                 const Hook& before_step) {
  const int world = static_cast<int>(schedules.size());
  return RunBodies(options, world, [&](RankContext& context) -> Status {
    const Schedule& schedule = schedules[context.rank()];
    TP_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, context.MakeExecutor(schedule));
    TP_RETURN_IF_ERROR(Feed(*executor, schedule));
    for (int step = 0; step < 3; ++step) {
      TP_RETURN_IF_ERROR(before_step(context, step));
      TP_RETURN_IF_ERROR(executor->EnqueueStep(StepKind::kWhole));
      TP_RETURN_IF_ERROR(executor->Synchronize());
    }
    return OkStatus();
  });
}

TEST(ErrorsTest, TheFirstFailureIsEverybodysCause) {
  const std::vector<Schedule> schedules = MakeSchedules({.mode = LinearMode::kRow, .tp = 3});
  for (const CpuBackendOptions& options : AllSchedulers()) {
    const Outcome outcome =
        RunSteps(options, schedules, [](RankContext& context, int step) -> Status {
          if (step == 1 && context.rank() == 2) return Internal("the disk is on fire");
          return OkStatus();
        });
    EXPECT_EQ(outcome.run.ToString(), "INTERNAL: rank 2: the disk is on fire");
    EXPECT_EQ(outcome.ranks[2].ToString(), "INTERNAL: the disk is on fire");
    for (int rank : {0, 1}) {
      EXPECT_EQ(outcome.ranks[rank].code(), StatusCode::kAborted);
      EXPECT_TRUE(Contains(outcome.ranks[rank], "rank 2 failed first: INTERNAL: the disk is"))
          << outcome.ranks[rank].ToString();
    }
  }
}

// In a barrier and in the middle of a step: the deadline's error names who did not come, and where
// to, though the ranks themselves wait for their streams alone.
TEST(ErrorsTest, ARankThatStaysAwayIsNamedAtTheDeadline) {
  CpuBackendOptions options;
  options.deadline = kSoon;
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    const std::vector<Schedule> schedules = MakeSchedules({.mode = mode, .tp = 3});
    const Outcome outcome = RunBodies(options, 3, [&](RankContext& context) -> Status {
      const Schedule& schedule = schedules[context.rank()];
      TP_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, context.MakeExecutor(schedule));
      TP_RETURN_IF_ERROR(context.Barrier());
      if (context.rank() == 1) return OkStatus();
      TP_RETURN_IF_ERROR(executor->EnqueueStep(StepKind::kWhole));
      return executor->Synchronize();
    });
    EXPECT_EQ(outcome.run.code(), StatusCode::kDeadlineExceeded);
    const std::string call = mode == LinearMode::kRow ? "all_gather" : "all_reduce";
    EXPECT_TRUE(Contains(outcome.run, " ms for rank 1: its arrival in " + call))
        << outcome.run.ToString();
    EXPECT_TRUE(Contains(outcome.run, "1000 ms")) << outcome.run.ToString();
    for (int rank : {0, 2}) {
      EXPECT_TRUE(Contains(outcome.ranks[rank], " ms for rank 1: its arrival in " + call))
          << outcome.ranks[rank].ToString();
    }
  }
}

TEST(ErrorsTest, ABarrierNamesWhoStaysAway) {
  CpuBackendOptions options;
  options.deadline = kSoon;
  const Outcome outcome = RunBodies(options, 3, [](RankContext& context) {
    return context.rank() == 1 ? OkStatus() : context.Barrier();
  });
  EXPECT_EQ(outcome.run.code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Contains(outcome.run, " ms for rank 1: its arrival in barrier"))
      << outcome.run.ToString();
}

// The seeded scheduler has no clock: it says so at once, with who waits for whom.
TEST(ErrorsTest, ADeadlockIsReportedWithItsGraph) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Outcome outcome =
        RunSteps(Seeded(seed), MakeSchedules({.mode = LinearMode::kRow, .tp = 3}),
                 [](RankContext& context, int step) -> Status {
                   return context.rank() == 1 && step == 1 ? context.Barrier() : OkStatus();
                 });
    EXPECT_EQ(outcome.run.code(), StatusCode::kDeadlineExceeded);
    EXPECT_TRUE(Contains(outcome.run, "deadlock")) << outcome.run.ToString();
    for (const char* line : {"\n  rank 0 waits for its streams to end",
                             "\n  rank 0 communication waits for rank 1: its arrival in "
                             "all_gather",
                             "\n  rank 1 waits for rank 0: its arrival in barrier",
                             "\n  rank 2 communication waits for rank 1: its arrival in "
                             "all_gather"}) {
      EXPECT_TRUE(Contains(outcome.run, line)) << line << " is not in " << outcome.run.ToString();
    }
    for (const Status& status : outcome.ranks) {
      EXPECT_TRUE(Contains(status, "deadlock")) << status.ToString();
    }
  }
}

// Counts the data that goes out.
class CountingEndpoint final : public sim::Endpoint {
 public:
  CountingEndpoint(std::unique_ptr<sim::Endpoint> inner, std::atomic<int64_t>& bytes)
      : inner_(std::move(inner)), bytes_(bytes) {}

  int member() const override { return inner_->member(); }
  int size() const override { return inner_->size(); }
  Status Send(int to, std::span<const std::byte> data) override {
    bytes_ += static_cast<int64_t>(data.size());
    return inner_->Send(to, data);
  }
  Status Recv(int from, std::span<std::byte> data) override { return inner_->Recv(from, data); }
  Status RecvReduce(int from, std::span<const std::byte> local, std::span<std::byte> out,
                    DType dtype, Reduction reduction) override {
    return inner_->RecvReduce(from, local, out, dtype, reduction);
  }
  void Copy(const std::byte* from, std::span<std::byte> to) override { inner_->Copy(from, to); }
  void Reduce(std::span<const std::byte> a, std::span<const std::byte> b, std::span<std::byte> out,
              DType dtype, Reduction reduction) override {
    inner_->Reduce(a, b, out, dtype, reduction);
  }
  Status Flush() override { return inner_->Flush(); }
  int64_t bytes_sent() const override { return inner_->bytes_sent(); }

 private:
  const std::unique_ptr<sim::Endpoint> inner_;
  std::atomic<int64_t>& bytes_;
};

// Rank 1 calls something else in its first collective: the error must name both calls, in the
// order of the ranks, and no data may have moved.
void ExpectMismatch(const std::vector<Schedule>& schedules, const std::string& first,
                    const std::string& second) {
  for (CpuBackendOptions options : AllSchedulers()) {
    std::atomic<int64_t> bytes{0};
    options.wrap_endpoint = [&](std::unique_ptr<sim::Endpoint> inner) {
      return std::make_unique<CountingEndpoint>(std::move(inner), bytes);
    };
    const Outcome outcome = RunSteps(options, schedules, [](RankContext& context, int) {
      return context.Barrier();  // moves no data
    });
    EXPECT_EQ(outcome.run.code(), StatusCode::kInvalidArgument) << outcome.run.ToString();
    EXPECT_TRUE(Contains(outcome.run, "rank 0 calls " + first)) << outcome.run.ToString();
    EXPECT_TRUE(Contains(outcome.run, "rank 1 calls " + second)) << outcome.run.ToString();
    for (const Status& status : outcome.ranks) {
      EXPECT_TRUE(Contains(status, first) && Contains(status, second)) << status.ToString();
    }
    EXPECT_EQ(bytes, 0);
  }
}

ScheduledOp& FirstCollective(Schedule& schedule) {
  for (ScheduledOp& op : schedule.ops) {
    if (op.action == Action::kCollective) return op;
  }
  LOG(FATAL) << "no collective";
}

TEST(ErrorsTest, OtherCountsAreNamed) {
  std::vector<Schedule> schedules = MakeSchedules({});  // 6 x 7: an all_reduce of 42
  FirstCollective(schedules[1]).call.counts = {41};
  ExpectMismatch(schedules, "all_reduce(sum, fp32, 42 elements)",
                 "all_reduce(sum, fp32, 41 elements)");
}

TEST(ErrorsTest, OtherReductionsAreNamed) {
  std::vector<Schedule> schedules = MakeSchedules({});
  FirstCollective(schedules[1]).call.reduction = Reduction::kMax;
  ExpectMismatch(schedules, "all_reduce(sum, fp32, 42 elements)",
                 "all_reduce(max, fp32, 42 elements)");
}

TEST(ErrorsTest, OtherTypesAreNamed) {
  std::vector<Schedule> schedules = MakeSchedules({});
  schedules[1] = MakeSchedules({.dtype = DType::kFloat16})[1];
  ExpectMismatch(schedules, "all_reduce(sum, fp32, 42 elements)",
                 "all_reduce(sum, fp16, 42 elements)");
}

TEST(ErrorsTest, OtherCollectivesAreNamed) {
  std::vector<Schedule> schedules = MakeSchedules({});
  schedules[1] = MakeSchedules({.mode = LinearMode::kRow})[1];
  ExpectMismatch(schedules, "all_reduce(", "all_gather(");
}

}  // namespace
}  // namespace tp
