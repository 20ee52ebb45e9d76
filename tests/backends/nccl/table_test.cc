// The GPU backend's table of kernels, without a GPU: whether each op of the list has its kernel.
#include <gtest/gtest.h>

#include <string>

#include "backends/nccl/kernels/all.h"
#include "tp/ops/all.h"

namespace tp::nccl {
namespace {

// Products are planned, not only launched, and so they are not in the table.
bool IsPlanned(Action action) { return action == Action::kGemm; }

TEST(GpuTable, HasAKernelForEachOp) {
  for (const OpDef* def : AllOps()) {
    EXPECT_TRUE(IsPlanned(def->action()) || FindKernel(def->action()) != nullptr)
        << def->name << " has no kernel on GPUs; add backends/nccl/kernels/" << def->name << ".cu";
    EXPECT_TRUE(def->blocked.name.empty() || FindKernel(def->blocked) != nullptr) << def->name;
  }
  for (Action action : {Action::kCopy, Action::kSumBlocks}) {
    EXPECT_NE(FindKernel(action), nullptr) << action.name;
  }
}

TEST(GpuTable, SaysWhenItHasNone) { EXPECT_EQ(FindKernel(Action{"no_such_op"}), nullptr); }

}  // namespace
}  // namespace tp::nccl
