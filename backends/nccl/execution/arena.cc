#include "backends/nccl/execution/arena.h"

#include <algorithm>
#include <string>

#include "backends/nccl/error.h"
#include "tp/schedule/memory.h"

namespace tp::nccl {
namespace {

constexpr int64_t kAlignment = 256;

}  // namespace

StatusOr<std::unique_ptr<Arena>> Arena::Create(const Schedule& schedule,
                                               const std::vector<int64_t>& more) {
  std::unique_ptr<Arena> arena(new Arena);
  const ArenaLayout planned = ArenaOf(schedule);
  arena->offsets_ = planned.offsets;
  arena->total_ = arena->buffer_bytes_ = planned.bytes;
  for (const Buffer& buffer : schedule.buffers) arena->bytes_.push_back(buffer.bytes());
  for (int64_t size : more) {
    arena->offsets_.push_back(arena->total_);
    arena->bytes_.push_back(size);
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
