// Matrix products on the CPU: OpenBLAS where the build and the machine have it, otherwise Eigen.
//
// fp64 and fp32 multiply and accumulate in themselves. bf16 and fp16 are widened to fp32 first,
// multiplied and accumulated there, and rounded once at the store: that needs scratch, which the
// caller reserves once. One thread each: a rank's compute stream is the unit of parallelism.
#pragma once

#include <cstdint>
#include <string>

#include "backends/cpu/kernels.h"
#include "tp/core/dtype.h"
#include "tp/core/status.h"

namespace tp::cpu {

// Floats of scratch that Gemm needs for an m x k by k x n product.
int64_t GemmScratchFloats(DType dtype, int64_t m, int64_t n, int64_t k);

// c = a b, or a b + bias on each row if `bias` (1 x n) is given. With k = 0 the product is zero.
// Each matrix is contiguous along its rows or its columns; c overlaps nothing else.
void Gemm(DType dtype, const Matrix& a, const Matrix& b, const Matrix* bias, const Matrix& c,
          float* scratch);

// Loads the library, once, and lets it take now the memory that `count` products at the same time
// need, and no product later. Errors: UNAVAILABLE where the process may not have that memory.
Status PrepareGemms(int count);

// What multiplies: "OpenBLAS 0.3.21 SkylakeX (its own choice, Prescott, is slower here)".
std::string GemmLibrary();

}  // namespace tp::cpu
