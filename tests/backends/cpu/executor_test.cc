// The executor's contract on the CPU: what returns when, in which order steps run, and what is
// refused.
#include "tp/runtime/executor.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "sim/fabric/endpoint.h"
#include "tests/backends/cpu/linear_schedules.h"

namespace tp::cpu {
namespace {

using Bytes = std::vector<std::byte>;

CpuBackendOptions Seeded(uint64_t seed) {
  CpuBackendOptions options;
  options.scheduler = SchedulerKind::kSeeded;
  options.scheduler_seed = seed;
  return options;
}

// The free scheduler and some seeds.
std::vector<CpuBackendOptions> AllSchedulers() {
  std::vector<CpuBackendOptions> all = {{}};
  for (uint64_t seed = 0; seed < 20; ++seed) all.push_back(Seeded(seed));
  return all;
}

// A body that has its executor, with inputs.
using Body = std::function<Status(RankContext&, const Schedule&, Executor&)>;
Status RunFed(const CpuBackendOptions& options, const std::vector<Schedule>& schedules,
              const Body& body) {
  return MakeCpuBackend(options)->Run(
      static_cast<int>(schedules.size()), [&](RankContext& context) -> Status {
        const Schedule& schedule = schedules[context.rank()];
        TP_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor,
                            context.MakeExecutor(schedule));
        TP_RETURN_IF_ERROR(Feed(*executor, schedule));
        TP_RETURN_IF_ERROR(context.Barrier());
        return body(context, schedule, *executor);
      });
}

// Closed until somebody opens it.
class Gate {
 public:
  void Open() {
    std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

  // An error where it stays closed for long.
  Status Pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (changed_.wait_for(lock, std::chrono::seconds(20), [&] { return open_; })) {
      return OkStatus();
    }
    return Internal("the gate was not opened: EnqueueStep waits for the step");
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

// Lets no data through before the gate is open.
class GatedEndpoint final : public sim::Endpoint {
 public:
  GatedEndpoint(std::unique_ptr<sim::Endpoint> inner, Gate& gate)
      : inner_(std::move(inner)), gate_(gate) {}

  int member() const override { return inner_->member(); }
  int size() const override { return inner_->size(); }
  Status Send(int to, std::span<const std::byte> data) override {
    if (!data.empty()) TP_RETURN_IF_ERROR(gate_.Pass());
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
  Gate& gate_;
};

// No rank's step can end before the gate is open, and it opens when all have enqueued theirs.
TEST(CpuExecutorTest, EnqueuedIsNotDone) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    Gate gate;
    CpuBackendOptions options;
    options.wrap_endpoint = [&](std::unique_ptr<sim::Endpoint> inner) {
      return std::make_unique<GatedEndpoint>(std::move(inner), gate);
    };
    const Status status =
        RunFed(options, MakeSchedules({.mode = mode}),
               [&](RankContext& context, const Schedule&, Executor& executor) -> Status {
                 for (int step = 0; step < 3; ++step)
                   TP_RETURN_IF_ERROR(executor.EnqueueStep(StepKind::kWhole));
                 TP_RETURN_IF_ERROR(context.Barrier());
                 gate.Open();
                 return executor.Synchronize();
               });
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
}

// What each rank holds of w, y, dx and dw after four steps, handed over one by one or all at once.
std::vector<Bytes> RunSteps(const CpuBackendOptions& options,
                            const std::vector<Schedule>& schedules, bool at_once) {
  std::vector<std::vector<Bytes>> results(schedules.size());
  const Status status =
      RunFed(options, schedules,
             [&](RankContext& context, const Schedule& schedule, Executor& executor) -> Status {
               for (int step = 0; step < 4; ++step) {
                 TP_RETURN_IF_ERROR(executor.EnqueueStep(StepKind::kWhole));
                 if (!at_once) TP_RETURN_IF_ERROR(executor.Synchronize());
               }
               for (const char* name : {"w", "y", "dx", "dw"}) {  // Read waits for the steps
                 TP_ASSIGN_OR_RETURN(Bytes part, ReadPart(executor, schedule, name));
                 results[context.rank()].push_back(std::move(part));
               }
               return OkStatus();
             });
  EXPECT_TRUE(status.ok()) << status.ToString();
  std::vector<Bytes> all;
  for (std::vector<Bytes>& of_rank : results) {
    for (Bytes& part : of_rank) all.push_back(std::move(part));
  }
  return all;
}

// With dp = 1 nothing in a step waits for its last collective, but the next step does.
TEST(CpuExecutorTest, StepsRunOneAfterTheOther) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    for (int dp : {1, 2}) {
      const std::vector<Schedule> schedules = MakeSchedules({.mode = mode, .tp = 3, .dp = dp});
      const std::vector<Bytes> expected = RunSteps({}, schedules, /*at_once=*/false);
      for (const CpuBackendOptions& options : AllSchedulers()) {
        EXPECT_EQ(RunSteps(options, schedules, /*at_once=*/true), expected)
            << Name(mode) << ", dp " << dp << ", seed " << options.scheduler_seed;
      }
    }
  }
}

// A rank may be done with its executor before the others are with the steps that it enqueued.
TEST(CpuExecutorTest, EnqueuedStepsEndThoughTheExecutorIsGone) {
  const std::vector<Schedule> schedules = MakeSchedules({.tp = 3});
  for (const CpuBackendOptions& options : AllSchedulers()) {
    const Status status =
        RunFed(options, schedules, [](RankContext& context, const Schedule&, Executor& executor) {
          TP_RETURN_IF_ERROR(executor.EnqueueStep(StepKind::kWhole));
          return context.rank() == 0 ? OkStatus() : executor.Synchronize();
        });
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
}

TEST(CpuExecutorTest, ReadAndWriteTakeWholeBuffers) {
  const Status status =
      RunFed({}, MakeSchedules({.tp = 1}),
             [](RankContext&, const Schedule& schedule, Executor& executor) -> Status {
               const BufferId buffer = schedule.BindingOf("w").view.buffer;
               Bytes bytes(schedule.buffers[buffer].bytes());
               for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
               TP_RETURN_IF_ERROR(executor.Write(buffer, bytes));
               Bytes back(bytes.size());
               TP_RETURN_IF_ERROR(executor.Read(buffer, back));
               EXPECT_EQ(back, bytes);
               const std::string holds = "'w' holds " + std::to_string(bytes.size()) + " bytes";
               for (size_t wrong : {size_t{0}, bytes.size() - 1, bytes.size() + 1}) {
                 Bytes other(wrong);
                 for (const Status& status :
                      {executor.Write(buffer, other), executor.Read(buffer, other)}) {
                   EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
                   EXPECT_NE(status.message().find(holds), std::string::npos) << status.ToString();
                   EXPECT_NE(status.message().find(std::to_string(wrong)), std::string::npos);
                 }
               }
               return OkStatus();
             });
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST(CpuExecutorTest, RecordsTheLastStep) {
  const std::vector<Schedule> schedules = MakeSchedules({.mode = LinearMode::kRow});
  const Status status = RunFed(
      {}, schedules, [](RankContext&, const Schedule& schedule, Executor& executor) -> Status {
        TP_RETURN_IF_ERROR(executor.EnqueueStep(StepKind::kWhole));
        TP_RETURN_IF_ERROR(executor.Synchronize());
        const StepRecord record = executor.LastStep();
        EXPECT_EQ(record.ops.size(), schedule.ops.size());
        for (size_t i = 0; i < record.ops.size(); ++i) {
          const OpRecord& op = record.ops[i];
          EXPECT_LE(record.begin_ns, op.begin_ns);
          EXPECT_LE(op.begin_ns, op.end_ns);
          EXPECT_LE(op.end_ns, record.end_ns);
          if (schedule.ops[i].action != Action::kCollective) {
            EXPECT_EQ(op.bytes_sent, 0);
            continue;
          }
          EXPECT_GT(op.bytes_sent, 0) << schedule.ops[i].name;
          EXPECT_LE(op.bytes_sent, executor.ExpectedBytes(static_cast<int>(i)));
          EXPECT_NE(executor.AlgorithmOf(static_cast<int>(i)), "auto");
        }
        TP_RETURN_IF_ERROR(ReadPart(executor, schedule, "y").status());
        TP_RETURN_IF_ERROR(executor.Synchronize());
        EXPECT_EQ(executor.LastStep().end_ns, record.end_ns) << "a read is no part of the step";
        return OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST(CpuExecutorTest, RefusesAScheduleThatRaces) {
  std::vector<Schedule> schedules = MakeSchedules({});
  for (Schedule& schedule : schedules) {
    for (ScheduledOp& op : schedule.ops) op.waits.clear();
  }
  const Status status =
      RunFed(Seeded(0), schedules,
             [](RankContext&, const Schedule&, Executor&) -> Status { return OkStatus(); });
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
}

// Two executors of one rank take turns, and each has its own memory and groups.
TEST(CpuExecutorTest, OneRankCanHaveSeveral) {
  const std::vector<Schedule> schedules = MakeSchedules({.mode = LinearMode::kRow});
  for (const CpuBackendOptions& options : AllSchedulers()) {
    const Status status =
        RunFed(options, schedules,
               [](RankContext& context, const Schedule& schedule, Executor& first) -> Status {
                 TP_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> second,
                                     context.MakeExecutor(schedule));
                 TP_RETURN_IF_ERROR(Feed(*second, schedule));
                 for (int step = 0; step < 2; ++step) {
                   TP_RETURN_IF_ERROR(first.EnqueueStep(StepKind::kWhole));
                   TP_RETURN_IF_ERROR(second->EnqueueStep(StepKind::kWhole));
                 }
                 TP_ASSIGN_OR_RETURN(const Bytes a, ReadPart(first, schedule, "w"));
                 TP_ASSIGN_OR_RETURN(const Bytes b, ReadPart(*second, schedule, "w"));
                 EXPECT_EQ(a, b);
                 return OkStatus();
               });
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
}

// Whatever the order of the agents, and however many steps are under way: a step takes what was fed
// before it was enqueued, and nothing that was fed after.
TEST(CpuExecutorTest, StepsTakeWhatWasFedBeforeThem) {
  const std::vector<Schedule> schedules = MakeSchedules({.mode = LinearMode::kRow, .tp = 2});
  const auto batch = [](const Binding& x, double step) {
    return Bytes(x.view.size() * SizeOf(x.dtype), std::byte(static_cast<int>(step)));
  };
  // Steps that take a batch, by whether each is waited for; w at the end, by rank.
  const auto train = [&](const CpuBackendOptions& options, bool wait) {
    std::vector<Bytes> trained(2);
    const Status status =
        RunFed(options, schedules,
               [&](RankContext& context, const Schedule& schedule, Executor& executor) -> Status {
                 const Binding& x = schedule.BindingOf("x");
                 const Region region = RegionsOf(x.view, SizeOf(x.dtype)).at(0);
                 for (int step = 0; step < 6; ++step) {
                   if (step % 3 != 2) TP_RETURN_IF_ERROR(executor.Feed(region, batch(x, step + 1)));
                   if (step == 3) TP_RETURN_IF_ERROR(executor.Feed(region, batch(x, 9)));
                   TP_RETURN_IF_ERROR(executor.EnqueueStep(StepKind::kWhole));
                   if (wait) TP_RETURN_IF_ERROR(executor.Synchronize());
                 }
                 TP_ASSIGN_OR_RETURN(trained[context.rank()], ReadPart(executor, schedule, "w"));
                 return OkStatus();
               });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return trained;
  };
  const std::vector<Bytes> expected = train({}, /*wait=*/true);
  for (const CpuBackendOptions& options : AllSchedulers()) {
    EXPECT_EQ(train(options, /*wait=*/false), expected);
  }
}

TEST(CpuExecutorTest, RefusesToFeedWhatIsNoRegion) {
  const std::vector<Schedule> schedules = MakeSchedules({.tp = 1});
  const Status status = RunFed(
      {}, schedules, [&](RankContext&, const Schedule& schedule, Executor& executor) -> Status {
        const Binding& x = schedule.BindingOf("x");
        Region region = RegionsOf(x.view, SizeOf(x.dtype)).at(0);
        Bytes bytes(region.size());
        TP_RETURN_IF_ERROR(executor.Feed(region, bytes));
        EXPECT_EQ(executor.Feed(region, std::span(bytes).first(1)).message(),
                  "a region of 240 bytes in buffer 'x' was fed 1");
        region.offset += 4;
        EXPECT_EQ(executor.Feed(region, bytes).code(), StatusCode::kInvalidArgument);
        region.offset = 0;
        region.bytes -= 4;
        EXPECT_NE(executor.Feed(region, std::span(bytes).first(236)).message().find("overlaps"),
                  std::string::npos);
        return OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status.ToString();
}

}  // namespace
}  // namespace tp::cpu
