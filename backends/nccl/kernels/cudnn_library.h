// Where cuDNN's library is. It is loaded when the first attention that it could take is planned, so
// that programs start where it is missing.
//
// Looked for, in this order: the loader's path, $CUDA_HOME/lib64 (or /usr/local/cuda's), and pip's
// packages of each python3 on PATH, where nvidia-cudnn-cu13 puts it. So is NVRTC, with which cuDNN
// compiles.
#pragma once

#include <string>
#include <vector>

namespace tp::nccl {

// The oldest that is taken, as cudnnGetVersion counts: the oldest that this was tried with. What is
// asked of it is older: grouped heads and any strides came with 8.9, gradients in a fixed order on
// Hopper with 9.0, and 9.10.0 is the last that the frontend refuses for what it got wrong.
inline constexpr size_t kOldestCudnn = 91400;

// What dlopen gave, for ever; null where there is none that will do, and then the first call logs
// what was found where, and what to do. Takes calls from several threads.
void* CudnnLibrary();
// Its version; 0 where there is none that will do.
size_t CudnnVersion();

// The files to try; one without a folder is looked for by the loader.
std::vector<std::string> CudnnCandidates();

}  // namespace tp::nccl
