// Elementwise reduction of two arrays: what a collective does with what it receives.
#pragma once

#include <cstddef>
#include <span>

#include "tp/core/collective.h"
#include "tp/core/dtype.h"

namespace tp::sim {

// out[i] = a[i] (reduction) b[i], in one pass. All have the same size, a multiple of SizeOf(dtype),
// and are aligned to an element; `out` may be `a` or `b` itself, and otherwise overlaps neither.
// fp64 and fp32 are computed as such; bf16 and fp16 in float, rounded once. Sums are the same bits
// with `a` and `b` exchanged. A NaN stays one, in max and min too.
void Reduce(DType dtype, Reduction reduction, std::span<const std::byte> a,
            std::span<const std::byte> b, std::span<std::byte> out);

}  // namespace tp::sim
