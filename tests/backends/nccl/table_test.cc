// The GPU backend's table of kernels, without a GPU: whether each op of the list has its kernel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/calls.h"
#include "tp/ops/all.h"

namespace tp::nccl {
namespace {

// Products are planned, not only launched, and so they are not in the table.
bool IsPlanned(Action action) { return action == Action::kGemm; }

TEST(GpuTable, HasAKernelForEachOp) {
  for (const OpDef* def : AllOps()) {
    const bool found = IsPlanned(def->action()) || FindKernel(def->action()) != nullptr;
    EXPECT_TRUE(found) << def->name << " has no kernel on GPUs; add it to backends/nccl/kernels";
    EXPECT_TRUE(def->blocked.name.empty() || FindKernel(def->blocked) != nullptr) << def->name;
  }
  for (Action action : {Action::kCopy, Action::kSumBlocks}) {
    EXPECT_NE(FindKernel(action), nullptr) << action.name;
  }
}

TEST(GpuTable, SaysWhenItHasNone) { EXPECT_EQ(FindKernel(Action{"no_such_op"}), nullptr); }

TEST(GpuTable, RefusesWhatIsMissing) {
  Schedule schedule;
  schedule.ops.emplace_back().action = Action{"no_such_op"};
  EXPECT_THAT(CheckKernels(schedule).ToString(),
              testing::StartsWith("UNAVAILABLE: the GPU backend has no kernel 'no_such_op'"));
}

TEST(GpuTable, RefusesLossesInTheInvariantOrderOfWhatIsNoMatrix) {
  const auto view = [](const Shape& sizes) {
    return PackedView(0, 0, sizes, Order::Own(static_cast<int>(sizes.size())));
  };
  for (const Shape& sizes : {Shape{6, 5}, Shape{2, 3, 5}}) {
    const View x = view(sizes);
    for (const char* action : {"mse_loss", "mse_loss_grad", "mse_grad"}) {
      for (SumOrder order : {SumOrder::kFast, SumOrder::kInvariant}) {
        ScheduledOp op;
        op.action = Action{action};
        op.name = "y";
        op.reads = {x, x};
        op.writes = {action == std::string("mse_grad") ? x : view({})};
        Schedule schedule;
        schedule.sum_order = order;
        schedule.ops = {op};
        const bool refused =
            order == SumOrder::kInvariant && sizes.size() > 2 && action != std::string("mse_grad");
        EXPECT_THAT(CheckKernels(schedule).ToString(),
                    testing::HasSubstr(refused ? "in the invariant order it takes matrices, not "
                                                 "[0+2x3x5 by 15,5,1]"
                                               : "OK"))
            << action << " " << sizes.size();
      }
    }
  }
}

}  // namespace
}  // namespace tp::nccl
