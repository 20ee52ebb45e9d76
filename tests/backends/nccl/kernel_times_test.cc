#include "backends/nccl/profile/kernel_times.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace tp::nccl {
namespace {

KernelRecord Kernel(int64_t begin_ns, int64_t end_ns) {
  KernelRecord kernel;
  kernel.begin_ns = begin_ns;
  kernel.end_ns = end_ns;
  return kernel;
}

std::vector<std::pair<int64_t, int64_t>> Times(const KernelsByOp& kernels) {
  std::vector<std::pair<int64_t, int64_t>> times;
  for (const auto& of_op : kernels) {
    for (const KernelRecord& k : of_op) times.emplace_back(k.begin_ns, k.end_ns);
  }
  return times;
}

using Expected = std::vector<std::pair<int64_t, int64_t>>;

TEST(KernelTimesTest, NoKernelEndsAfterTheHostSawTheEnd) {
  KernelsByOp kernels = {{Kernel(10, 20), Kernel(20, 33)}, {}, {Kernel(15, 40)}};
  CorrectClock(37, kernels);
  EXPECT_EQ(Times(kernels), (Expected{{7, 17}, {17, 30}, {12, 37}}));
  CorrectClock(50, kernels);  // a host that was slow to see it says nothing of the clock
  EXPECT_EQ(Times(kernels), (Expected{{7, 17}, {17, 30}, {12, 37}}));
}

TEST(KernelTimesTest, AKernelSetUpEarlyCountsFromTheEndOfTheOneBefore) {
  std::vector<ScheduledOp> ops(3);
  ops[1].stream = Stream::kCommunication;
  KernelsByOp kernels = {
      {Kernel(10, 20), Kernel(18, 25)}, {Kernel(12, 30)}, {Kernel(24, 40), Kernel(41, 50)}};
  CountFromEndOfEarlier(ops, kernels);
  EXPECT_EQ(Times(kernels), (Expected{{10, 20}, {20, 25}, {12, 30}, {25, 40}, {41, 50}}));
}

TEST(KernelTimesTest, AnEndIsNeverBeforeItsBegin) {
  KernelsByOp kernels = {{Kernel(10, 20)}, {Kernel(11, 19)}, {Kernel(12, 30)}};
  CountFromEndOfEarlier(std::vector<ScheduledOp>(3), kernels);
  EXPECT_EQ(Times(kernels), (Expected{{10, 20}, {20, 20}, {20, 30}}));
}

}  // namespace
}  // namespace tp::nccl
