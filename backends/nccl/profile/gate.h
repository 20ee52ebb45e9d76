// Gate: holds a stream while the host enqueues what is to run without gaps.
//
// A kernel of one thread watches a flag in the host's memory, so that no thread of the host has to
// be woken. Source: the same idea as the blocking kernel of NVIDIA's nvbench.
#pragma once

#include <cuda_runtime_api.h>

namespace tp::nccl {

class Gate {
 public:
  // Runs the kernel once: a kernel is loaded on its first launch, which may wait for the device.
  cudaError_t Make();
  ~Gate();  // nothing may be held any more

  // From here on `stream` stands still, until Open.
  cudaError_t CloseOn(cudaStream_t stream);
  void Open();

 private:
  unsigned* open_ = nullptr;  // in the host's memory
};

}  // namespace tp::nccl
