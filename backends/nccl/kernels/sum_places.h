// Sums over some dimensions of a view, for any strides.
#pragma once

#include <cuda_runtime_api.h>

#include "backends/nccl/kernels/device_view.h"
#include "backends/nccl/kernels/kernels.h"

namespace tp::nccl {

// out = the sum over `x`'s first `summed` dimensions; `out` has the others, and x's type. The order
// of a sum depends on x's sizes and layout alone.
cudaError_t SumPlaces(const DeviceView& x, int summed, const DeviceView& out,
                      const Scratch& scratch, cudaStream_t stream);
ScratchSize SumPlacesScratch(const DeviceView& x, int summed);

}  // namespace tp::nccl
