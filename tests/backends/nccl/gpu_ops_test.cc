// Walks the list of ops: each one's kernel on a GPU against its reference, over all placements that
// its letters allow on an axis of 1 to 3 ranks, in all types, with shards that are uneven or empty,
// on views as lowering makes them and in other orders with gaps; and on larger operands, which take
// many blocks and accesses of 16 bytes. Each rank's part runs on the first GPU, one after the
// other.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/backends/nccl/gpu_trial_kernels.h"
#include "tests/ops/letters.h"
#include "tests/ops/placements.h"
#include "tests/ops/trial.h"
#include "tp/ops/all.h"

namespace tp::nccl {
namespace {

// By letter in order of appearance, from the beginning again behind the end; and "*".
struct Sizes {
  std::vector<int64_t> pick, any;
};

const std::vector<Sizes> kSmall = {
    {{3, 5, 2, 4}, {5, 2}}, {{7, 1, 6, 2}, {1, 6}}, {{2, 3, 0, 3}, {3, 0}}};

std::vector<Sizes> LargeSizesOf(const OpDef& def) {
  const std::string name(def.name);
  if (name.find("attention") != name.npos) {
    // cuDNN takes those with a key for each query and no more than 128 elements of a head; some
    // versions only the third one's gradient.
    return {{{2, 70, 2, 3, 64, 70}, {}},
            {{1, 37, 1, 2, 128, 50}, {}},
            {{1, 128, 2, 2, 128, 128}, {}},
            {{1, 9, 1, 1, 300, 9}, {}}};
  }
  if (name == "rope") return {{{3, 37, 64}, {2, 3}}, {{1, 5, 1031}, {2}}};
  if (name.find("positions") != name.npos) return {{{3, 37, 72, 40}, {}}};
  if (name.find("tokens") != name.npos) return {{{3, 37}, {33, 5}}, {{2, 9}, {7, 40}}};
  // A table of few rows, each of which has many lines.
  if (name == "embedding_grad") {
    return {{{50, 2064}, {40, 20}}, {{900, 72}, {300}}, {{264, 2}, {40, 50}}};
  }
  if (name == "embedding") return {{{50, 2064}, {40, 20}}, {{900, 72}, {300}}};
  if (def.letters.empty()) return {{{40, 24, 9, 16}, {}}};  // of up to five letters
  const bool only_star = std::all_of(def.letters.begin(), def.letters.end(),
                                     [](char c) { return !(c >= 'a' && c <= 'z'); });
  if (only_star) return {{{}, {129, 264}}, {{}, {7, 1, 5, 3, 40}}, {{}, {300001}}};
  return {{{2048, 72}, {33, 5}}, {{264, 1032}, {700}}};
}

class GpuOp : public testing::TestWithParam<const OpDef*> {
 protected:
  // The trial of a case, on one rank.
  static KernelTrial TrialOf(const OpDef& def, const std::string& text, const Sizes& sizes) {
    const Letters written = Letters::Parse(text).value();
    KernelTrial trial;
    trial.def = &def;
    trial.attributes = AttributesFor(def, text);
    trial.shapes = ShapesFor(written, sizes.pick, sizes.any);
    trial.on.assign(trial.shapes.size(), Replicate());
    return trial;
  }

  // All types, and so many layouts.
  void RunAll(KernelTrial trial, uint64_t layouts) {
    for (DType dtype : kAllDTypes) {
      trial.dtype = dtype;
      for (trial.layout = 0; trial.layout < layouts; ++trial.layout) {
        const std::string wrong = RunTrial(trial, kernels_);
        ASSERT_EQ(wrong, "") << ToString(trial);
        ++runs_;
      }
    }
  }

  GpuTrialKernels kernels_;
  int runs_ = 0;
};

TEST_P(GpuOp, ComputesItsReferenceOverAllPlacements) {
  const OpDef& def = *GetParam();
  for (const std::string& text : LettersToTry(def)) {
    for (const Sizes& sizes : kSmall) {
      KernelTrial trial = TrialOf(def, text, sizes);
      const std::vector<std::string> names(trial.shapes.size());
      const Letters letters = Letters::Parse(text).value().For(trial.shapes, names).value();
      std::vector<Placement> on;
      ForEachPlacement(def, letters, on, [&](const std::vector<Placement>& allowed) {
        trial.on = allowed;
        for (trial.ranks = 1; trial.ranks <= 3; ++trial.ranks) {
          RunAll(trial, 3);
          if (HasFatalFailure()) return;
        }
      });
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(runs_, 100);
}

TEST_P(GpuOp, ComputesItsReferenceOnLargeOperands) {
  const OpDef& def = *GetParam();
  for (const std::string& text : LettersToTry(def)) {
    for (const Sizes& sizes : LargeSizesOf(def)) {
      KernelTrial trial = TrialOf(def, text, sizes);
      // The sums of exponentials that a gradient is given are any numbers here: of large scores,
      // weights would be more than fp16 has.
      if (def.name.ends_with("attention_grad")) trial.attributes.Set("scale", 1.0 / 64);
      RunAll(trial, 2);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(runs_, 4);
}

INSTANTIATE_TEST_SUITE_P(Ops, GpuOp, testing::ValuesIn(AllOps()),
                         [](const auto& param) { return std::string(param.param->name); });

}  // namespace
}  // namespace tp::nccl
