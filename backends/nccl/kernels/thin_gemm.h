// Matrix products in fp32 that are too thin for cuBLASLt's tiles: a candidate among its algorithms.
//
// Few rows (m <= 32): a block has four columns of c, its threads share the terms, and their parts
// of the sums meet in a fixed order. Short sums (k <= 32): a thread has four columns of b in
// registers and goes through rows of a. Both are bound by reading the larger operand once.
#pragma once

#include <cuda_runtime_api.h>

#include <optional>

#include "backends/nccl/kernels/matrix.h"

namespace tp::nccl {

// Whether a [m, k], b [k, n], c [m, n] and a bias [1, n] are such a product.
bool IsThin(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c,
            const std::optional<DeviceMatrix>& bias);

// c = a b [+ bias on each row], enqueued on `stream`, of a product that IsThin.
cudaError_t ThinGemm(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c,
                     const std::optional<DeviceMatrix>& bias, cudaStream_t stream);

}  // namespace tp::nccl
