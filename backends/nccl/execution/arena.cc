#include "backends/nccl/execution/arena.h"

#include <algorithm>
#include <string>

#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

constexpr int64_t kAlignment = 256;

}  // namespace

StatusOr<std::unique_ptr<Arena>> Arena::Create(const std::vector<int64_t>& bytes) {
  std::unique_ptr<Arena> arena(new Arena);
  arena->bytes_ = bytes;
  for (int64_t size : bytes) {
    arena->offsets_.push_back(arena->total_);
    arena->total_ += (size + kAlignment - 1) / kAlignment * kAlignment;
  }
  arena->total_ = std::max(arena->total_, kAlignment);
  void* base = nullptr;
  const Status status = FromCuda(cudaMalloc(&base, arena->total_), "cudaMalloc");
  if (!status.ok()) {
    return status.WithContext("allocating " + std::to_string(arena->total_) +
                              " bytes for the step's buffers");
  }
  arena->base_ = static_cast<char*>(base);
  TP_RETURN_IF_ERROR(arena->FillWithZeros());
  return arena;
}

Arena::~Arena() {
  if (base_ != nullptr) cudaFree(base_);
}

Status Arena::FillWithZeros() {
  TP_CUDA(cudaMemset(base_, 0, total_));
  TP_CUDA(cudaStreamSynchronize(nullptr));
  return OkStatus();
}

}  // namespace tp::nccl
