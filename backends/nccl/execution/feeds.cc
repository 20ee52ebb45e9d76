#include "backends/nccl/execution/feeds.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

// Between packed memory and the runs of a region, in either direction.
Status CopyRuns(void* to, int64_t to_stride, const void* from, int64_t from_stride,
                const Region& region, cudaStream_t stream) {
  if (region.count == 1) {
    return FromCuda(cudaMemcpyAsync(to, from, region.bytes, cudaMemcpyDeviceToDevice, stream),
                    "cudaMemcpyAsync");
  }
  return FromCuda(cudaMemcpy2DAsync(to, to_stride, from, from_stride, region.bytes, region.count,
                                    cudaMemcpyDeviceToDevice, stream),
                  "cudaMemcpy2DAsync");
}

}  // namespace

Feeds::~Feeds() {
  // What goes wrong here is known to the world (Rank::Wait) and changes nothing any more.
  [[maybe_unused]] const Status here = AwaitEvent(arrived_, put_, "what was fed");
  [[maybe_unused]] const Status done =
      AwaitEvent(taken_, took_, "the step that takes what was fed");
  for (cudaEvent_t event : {arrived_, taken_}) {
    if (event != nullptr) cudaEventDestroy(event);
  }
  if (!rank_.idle()) return;  // something may still write to it
  for (const Staged& staged : staged_) {
    if (staged.host != nullptr) cudaFreeHost(staged.host);
    if (staged.device != nullptr) cudaFree(staged.device);
  }
  if (stream_ != nullptr && stream_ != compute()) cudaStreamDestroy(stream_);
}

bool Feeds::Has(const Region& region) const {
  return std::find(regions_.begin(), regions_.end(), region) != regions_.end();
}

Status Feeds::AwaitEvent(cudaEvent_t event, bool recorded, std::string_view what) {
  if (!recorded) return OkStatus();
  return rank_.Wait(what, [event]() -> StatusOr<bool> {
    const cudaError_t state = cudaEventQuery(event);
    if (state == cudaErrorNotReady) return false;
    TP_RETURN_IF_ERROR(FromCuda(state, "cudaEventQuery"));
    return true;
  });
}

Status Feeds::MakeStreams() {
  if (stream_ != nullptr) return OkStatus();
  for (cudaEvent_t* event : {&arrived_, &taken_}) {
    TP_CUDA(cudaEventCreateWithFlags(event, cudaEventDisableTiming));
  }
  if (rank_.shares_gpus()) {
    stream_ = compute();
    return OkStatus();
  }
  return FromCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                  "cudaStreamCreateWithFlags");
}

Status Feeds::Make(const Region& region, Arena& arena) {
  TP_RETURN_IF_ERROR(MakeStreams());
  Staged& staged = staged_.emplace_back();
  staged.region = region;
  regions_.push_back(region);
  void* host = nullptr;
  void* device = nullptr;
  TP_CUDA(cudaHostAlloc(&host, region.size(), cudaHostAllocDefault));
  staged.host = static_cast<std::byte*>(host);
  TP_CUDA(cudaMalloc(&device, region.size()));
  staged.device = static_cast<std::byte*>(device);
  // The same copy the other way round: what it needs is loaded now, while nobody waits for this
  // rank.
  TP_RETURN_IF_ERROR(CopyRuns(staged.device, region.bytes, arena.At(region.buffer) + region.offset,
                              region.stride, region, compute()));
  return rank_.WaitForStreams("the first copy of what is fed");
}

Status Feeds::Put(const Region& region, std::span<const std::byte> bytes, Arena& arena) {
  TP_RETURN_IF_ERROR(CheckRegion(region, schedule_, regions_));
  if (static_cast<int64_t>(bytes.size()) != region.size()) {
    return InvalidArgument(fmt::format("a region of {} bytes in buffer '{}' was fed {}",
                                       region.size(), schedule_.buffers[region.buffer].name,
                                       bytes.size()));
  }
  if (!Has(region)) TP_RETURN_IF_ERROR(Make(region, arena));
  TP_RETURN_IF_ERROR(AwaitEvent(taken_, took_, "the step that takes what was fed"));
  TP_RETURN_IF_ERROR(AwaitEvent(arrived_, put_, "what was fed"));
  const auto place = std::find(regions_.begin(), regions_.end(), region) - regions_.begin();
  Staged& staged = staged_[place];
  std::memcpy(staged.host, bytes.data(), bytes.size());
  TP_CUDA(
      cudaMemcpyAsync(staged.device, staged.host, bytes.size(), cudaMemcpyHostToDevice, stream_));
  TP_CUDA(cudaEventRecord(arrived_, stream_));
  put_ = true;
  staged.fresh = true;
  return OkStatus();
}

Status Feeds::EnqueueCopies(Arena& arena) {
  bool any = false;
  for (Staged& staged : staged_) {
    if (!staged.fresh) continue;
    if (!any) TP_CUDA(cudaStreamWaitEvent(compute(), arrived_, 0));
    any = true;
    staged.fresh = false;
    const Region& region = staged.region;
    TP_RETURN_IF_ERROR(CopyRuns(arena.At(region.buffer) + region.offset, region.stride,
                                staged.device, region.bytes, region, compute()));
  }
  if (!any) return OkStatus();
  TP_CUDA(cudaEventRecord(taken_, compute()));
  took_ = true;
  return OkStatus();
}

}  // namespace tp::nccl
