// How long an executor's memory lives: no longer than one of its ranks has it, and no shorter than
// another may read it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "sim/fabric/endpoint.h"
#include "tests/backends/cpu/linear_schedules.h"

namespace tp::cpu {
namespace {

// What the process has of the machine's memory.
int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

StatusOr<int64_t> MakeAndStep(RankContext& context, const Schedule& schedule) {
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, context.MakeExecutor(schedule));
  TP_RETURN_IF_ERROR(executor->EnqueueStep(StepKind::kWhole));
  TP_RETURN_IF_ERROR(executor->Synchronize());
  return executor->Allocated().buffers;
}

// One executor after the other, as a tool makes them that measures many cases in one world. The
// first few are given what a sanitizer keeps back of freed memory.
TEST(ExecutorMemory, IsGivenBackWhenAllRanksAreDoneWithIt) {
  constexpr int kFirst = 10, kMore = 20;
  const std::vector<Schedule> schedules =
      MakeSchedules({.tokens = 32, .in_features = 2048, .out_features = 2048});
  int64_t grown = 0, of_a_world = 0;
  const Status status = MakeCpuBackend({})->Run(2, [&](RankContext& context) -> Status {
    const bool root = context.rank() == 0;
    for (int i = 0; i < kFirst + kMore; ++i) {
      if (root && i == kFirst) grown = -ResidentBytes();
      TP_ASSIGN_OR_RETURN(const int64_t bytes, MakeAndStep(context, schedules[context.rank()]));
      if (root) of_a_world = 2 * bytes;
      TP_RETURN_IF_ERROR(context.Barrier());
    }
    if (root) grown += ResidentBytes();
    return OkStatus();
  });
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_GE(of_a_world, 32 << 20);
  EXPECT_LE(grown, kMore * of_a_world / 2);
}

// What has happened in the test below, in this order.
struct Happened {
  std::atomic<bool> sent = false;     // member 0's first message, from its buffers
  std::atomic<bool> reading = false;  // member 1 is about to read it
  std::atomic<bool> gone = false;     // member 0 and its executor
};

// Returns late, too, where it never happens.
void Await(const std::atomic<bool>& event) {
  for (int i = 0; i < 2000 && !event; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

// Member 1 reads its first message when the sender is gone.
class LateReader final : public sim::Endpoint {
 public:
  LateReader(std::unique_ptr<sim::Endpoint> inner, Happened& happened)
      : inner_(std::move(inner)), happened_(happened) {}
  ~LateReader() override {
    if (member() == 0 && bytes_sent() > 0) happened_.gone = true;
  }

  int member() const override { return inner_->member(); }
  int size() const override { return inner_->size(); }
  Status Send(int to, std::span<const std::byte> data) override {
    Status status = inner_->Send(to, data);
    if (member() == 0 && !data.empty()) happened_.sent = true;
    return status;
  }
  Status Recv(int from, std::span<std::byte> data) override { return inner_->Recv(from, data); }
  Status RecvReduce(int from, std::span<const std::byte> local, std::span<std::byte> out,
                    DType dtype, Reduction reduction) override {
    if (member() == 1) {
      Await(happened_.sent);
      happened_.reading = true;
      Await(happened_.gone);
      // The endpoint goes before what else the executor had.
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
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
  Happened& happened_;
};

// Where it did not, the read would end the process: a block of more than 32 MiB is a map of its own
// (mallopt(3), M_MMAP_THRESHOLD), and goes back to the system.
TEST(ExecutorMemory, LivesWhileAnotherRankMayReadIt) {
  const std::vector<Schedule> schedules =
      MakeSchedules({.tokens = 64, .in_features = 3072, .out_features = 3072});
  Happened happened;
  CpuBackendOptions options;
  options.all_reduce = sim::Algorithm::kDirect;
  options.wrap_endpoint = [&](std::unique_ptr<sim::Endpoint> inner) {
    return std::make_unique<LateReader>(std::move(inner), happened);
  };
  const Status status = MakeCpuBackend(options)->Run(2, [&](RankContext& context) -> Status {
    TP_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor,
                        context.MakeExecutor(schedules[context.rank()]));
    EXPECT_GE(executor->Allocated().buffers, 32 << 20);
    TP_RETURN_IF_ERROR(executor->EnqueueStep(StepKind::kWhole));
    if (context.rank() == 0) return executor->Synchronize();
    Await(happened.reading);
    return Internal("planted");
  });
  EXPECT_EQ(status.ToString(), "INTERNAL: rank 1: planted");
  EXPECT_TRUE(happened.gone);
}

}  // namespace
}  // namespace tp::cpu
