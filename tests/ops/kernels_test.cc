// Walks the list of ops: each one's kernel on the CPU against its reference, over all placements
// that its letters allow on an axis of 1 to 4 ranks, in all types, with shards that are uneven or
// empty, on views as lowering makes them and in other orders with gaps.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/core/sanitized.h"
#include "tests/ops/cpu_kernels.h"
#include "tests/ops/letters.h"
#include "tests/ops/placements.h"
#include "tests/ops/trial.h"
#include "tp/ops/all.h"

namespace tp {
namespace {

// By letter in order of appearance: sizes that 2, 3 and 4 ranks do not divide, that some of them
// exceed, and none at all.
const std::vector<std::vector<int64_t>> kSizes = {{3, 5, 2, 4}, {7, 1, 6, 2}, {2, 3, 0, 3}};

// Prime to the types and the layouts, so that all of them come.
constexpr int kEvery = kSanitized ? 5 : 1;

class EachKernel : public testing::TestWithParam<const OpDef*> {};

TEST_P(EachKernel, ComputesItsReferenceOverAllPlacements) {
  const OpDef& def = *GetParam();
  CpuKernels kernels;
  int trials = 0, runs = 0;
  for (const std::string& text : LettersToTry(def)) {
    const Letters written = Letters::Parse(text).value();
    for (size_t s = 0; s < kSizes.size(); ++s) {
      KernelTrial trial;
      trial.def = &def;
      trial.shapes = ShapesFor(written, kSizes[s], {kSizes[s][1], kSizes[s][2]});
      const Letters letters =
          written.For(trial.shapes, std::vector<std::string>(trial.shapes.size())).value();
      for (const Attributes& attributes : AttributesToTry(def, text)) {
        trial.attributes = attributes;
        std::vector<Placement> on;
        ForEachPlacement(def, letters, on, [&](const std::vector<Placement>& allowed) {
          trial.on = allowed;
          for (trial.ranks = 1; trial.ranks <= 4; ++trial.ranks) {
            for (DType dtype : kAllDTypes) {
              trial.dtype = dtype;
              for (trial.layout = 0; trial.layout < 3; ++trial.layout) {
                if (++trials % kEvery != 0) continue;
                const std::string wrong = RunTrial(trial, kernels);
                ASSERT_EQ(wrong, "") << ToString(trial);
                ++runs;
              }
            }
          }
        });
        if (HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(runs, 100 / kEvery);
}

INSTANTIATE_TEST_SUITE_P(Ops, EachKernel, testing::ValuesIn(AllOps().begin(), AllOps().end()),
                         [](const auto& param) { return std::string(param.param->name); });

}  // namespace
}  // namespace tp
