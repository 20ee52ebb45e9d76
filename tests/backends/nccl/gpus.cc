#include "tests/backends/nccl/gpus.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace tp::nccl {
namespace {

// Streams of ranks that share a GPU need queues of their own there: behind a kernel that waits for
// another rank, in one queue with it, that rank's kernel would never begin. CUDA reads this when it
// starts, after main has begun.
const int kQueues = setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", /*overwrite=*/0);

}  // namespace

int CountGpus() {
  int gpus = 0;
  EXPECT_EQ(kQueues, 0);
  EXPECT_EQ(cudaGetDeviceCount(&gpus), cudaSuccess);
  EXPECT_GE(gpus, 1) << "these tests need GPUs";
  return gpus;
}

}  // namespace tp::nccl
