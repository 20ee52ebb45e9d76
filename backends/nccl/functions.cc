#include "backends/nccl/functions.h"

namespace tp::nccl {

const FunctionErrors* ErrorsOfFunctions() {
  // Rounded up from what an H100 with CUDA 13.0 was off by over all floats: exp 1.931, log 0.865,
  // sqrt 0.5, rsqrt 1.491, tanh 1.815, sigmoid, still by a rounded division, 3.713 ulps
  // (TP_ALL_FLOATS=1 gpu_selftest --gtest_filter=*GpuFunctions*); erf's is CUDA's own (CUDA Math
  // API, single precision). Below the normal range an ulp is 2^-149 throughout.
  static constexpr FunctionErrors kErrors = {{{
      {.ulps = 2, .below = 0x1p-148, .overflow = 0x1.fffffap127},  // exp
      {.ulps = 1},                                                 // log
      {.ulps = 0.5},                                               // sqrt
      // Two roundings: of the root, by which the quotient is off as much, and of the quotient. In
      // ulps of the exact value, which may be just above a power of two, thrice a half at most.
      {.ulps = 1.5},
      {.ulps = 2, .below = 0x1p-148},  // tanh
      // With e = exp(-|x|) off by d <= 2^-22 of itself, 1 / (1 + e) is off by d / 2, a rounding and
      // the hardware's 2^-23, e / (1 + e) by d more and a rounding more: 2^-22 (3/2) + 2^-23 + 2
      // 2^-24 of the value, of which an ulp is 2^-24 at least. Below the normal range by 2 ulps of
      // e and a rounding.
      {.ulps = 10, .below = 0x1.8p-148},  // sigmoid
      {.ulps = 2, .below = 0x1p-148},     // erf
  }}};
  return &kErrors;
}

}  // namespace tp::nccl
