// A matrix product in loops, of operands that lie in any way: what cuBLASLt does not take.
//
// Such are products with more than one loop, with a loop over which c is summed, with a loop and a
// bias, and matrices that lie along neither direction. No tensor cores: sums are in fp32 (fp64 for
// fp64), in the order of the loops and of k, and are rounded once.
#pragma once

#include <cuda_runtime_api.h>

#include <optional>

#include "backends/nccl/kernels/device_view.h"

namespace tp::nccl {

// Views as in Contraction (tp/schedule/contraction.h), all of one type.
struct LoopedProduct {
  DeviceView a;  // [loops..., m, k]
  DeviceView b;  // [loops..., k, n]
  DeviceView c;  // [loops..., m, n]; of stride 0 along a loop: the sum over it
  // [loops..., m, n] or, for each row alike, [loops..., n]; read at the first index of loops summed
  // over.
  std::optional<DeviceView> added;
};

cudaError_t LoopedGemm(const LoopedProduct& product, cudaStream_t stream);

}  // namespace tp::nccl
