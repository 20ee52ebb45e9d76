// The elementary functions of the GPU's kernels, over numbers in its memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "tp/core/elementary.h"

namespace tp::nccl {

// out[i] = function(in[i]).
cudaError_t ApplyOnGpu(Function function, const float* in, float* out, int64_t count,
                       cudaStream_t stream);

}  // namespace tp::nccl
