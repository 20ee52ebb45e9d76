// Matrix products on the CPU: OpenBLAS where the build and the machine have it, otherwise Eigen.
//
// fp64 and fp32 multiply and accumulate in themselves. bf16 and fp16 are widened to fp32 first,
// multiplied and accumulated there, and rounded once at the store: that needs scratch, which the
// caller reserves once. One thread each: a rank's compute stream is the unit of parallelism.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "backends/cpu/kernels.h"
#include "tp/core/dtype.h"
#include "tp/core/status.h"

namespace tp::cpu {

// Bytes of scratch that Gemm needs for these operands, of which the memory is not looked at.
int64_t GemmScratchBytes(DType dtype, const Tensor& a, const Tensor& b, const Tensor* added,
                         const Tensor& c);

// c = a b, or a b + `added` if that is given, for each index of the loops, as a Contraction has
// them (tp/schedule/contraction.h): a [loops..., m, k], b [loops..., k, n], added [loops..., m, n]
// or, for each row alike, [loops..., n], c [loops..., m, n]. Where c has a loop's stride 0, it is
// the sum over the loop, taken in the type that accumulates; such a loop is not empty. With k = 0
// the product is zero.
// c overlaps nothing else. A matrix that is contiguous along neither its rows nor its columns is
// copied to scratch first.
void Gemm(DType dtype, const Tensor& a, const Tensor& b, const Tensor* added, const Tensor& c,
          std::byte* scratch);

// Loads the library, once, and lets it take now the memory that `count` products at the same time
// need, and no product later. Errors: UNAVAILABLE where the process may not have that memory.
Status PrepareGemms(int count);

// What multiplies: "OpenBLAS 0.3.21 SkylakeX (its own choice, Prescott, is slower here)".
std::string GemmLibrary();

}  // namespace tp::cpu
