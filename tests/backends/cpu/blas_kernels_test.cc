#include "backends/cpu/blas_kernels.h"

#include <gtest/gtest.h>

namespace tp::cpu {
namespace {

TEST(BlasKernels, AreAskedForWhereTheLibraryDoesNotKnowTheProcessor) {
  EXPECT_EQ(BetterKernels("Prescott", VectorUnits::kAvx512), "SkylakeX");
  EXPECT_EQ(BetterKernels("Prescott", VectorUnits::kAvx2), "Haswell");
  EXPECT_EQ(BetterKernels("Haswell", VectorUnits::kAvx512), "SkylakeX");
  EXPECT_EQ(BetterKernels("Zen", VectorUnits::kAvx512), "SkylakeX");
  EXPECT_EQ(BetterKernels("Sandybridge", VectorUnits::kAvx2), "Haswell");
}

TEST(BlasKernels, AreLeftWhereTheyAreAsGood) {
  EXPECT_EQ(BetterKernels("Prescott", VectorUnits::kOther), "");
  EXPECT_EQ(BetterKernels("Zen", VectorUnits::kAvx2), "");
  EXPECT_EQ(BetterKernels("Haswell", VectorUnits::kAvx2), "");
  EXPECT_EQ(BetterKernels("Cooperlake", VectorUnits::kAvx512), "");
  EXPECT_EQ(BetterKernels("SapphireRapids", VectorUnits::kAvx512), "");
  EXPECT_EQ(BetterKernels("neoversev1", VectorUnits::kOther), "");
  EXPECT_EQ(BetterKernels("a name of years to come", VectorUnits::kAvx512), "");
}

}  // namespace
}  // namespace tp::cpu
