// A backend without an op's kernel refuses the schedule, and says which op it is. No backend is
// asked here: a table is what it says it has.
#include "tp/runtime/kernel_check.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "tests/program/programs.h"
#include "tp/ops/all.h"
#include "tp/ops/ops.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

// A product that is summed over tp, and dropout of the sum.
Schedule ScheduleWithDropout() {
  Program program;
  const ValueId x = Input(program, "x", {4, 6}, On(Axis::kTp, Shard(1)));
  const ValueId w = Parameter(program, "w", {6, 5}, On(Axis::kTp, Shard(0)));
  const ValueId seed = Input(program, "seed", {}, {}, DType::kInt32);
  const Phase phase = Phase::kForward;
  const ValueId part = AddMatMul(program, phase, "y.part", x, w, {}).value();
  const ValueId y = AddRedistribute(program, phase, "y", part, Axis::kTp, Replicate()).value();
  program.AddResult(
      AddOp(program, phase, "dropped", kDropout, {y, seed}, {{"rate", 0.5}, {"stream", int64_t{3}}})
          .value());
  return Lower(program, Mesh::Create(2, 1).value(), 0).value();
}

TEST(KernelCheck, TakesWhatTheTableHas) {
  // A collective is asked of nobody.
  const auto has = [](Action action) { return action != Action::kCollective; };
  EXPECT_EQ(CheckHasKernels(ScheduleWithDropout(), "the backend", has).ToString(), "OK");
}

TEST(KernelCheck, NamesTheOpThatTheTableLacks) {
  const auto has = [](Action action) { return action != kDropout.action(); };
  EXPECT_EQ(CheckHasKernels(ScheduleWithDropout(), "the backend", has).ToString(),
            "UNAVAILABLE: the backend has no kernel 'dropout', which computes 'dropped'; run it on "
            "another backend, or leave that op out of the program");
}

TEST(KernelCheck, NamesTheFirstOpOfAnEmptyTable) {
  const Status status =
      CheckHasKernels(ScheduleWithDropout(), "the backend", [](Action) { return false; });
  EXPECT_NE(status.message().find("no kernel 'gemm', which computes 'y.part'"), std::string::npos)
      << status.message();
}

}  // namespace
}  // namespace tp
