// Feeds: what a rank is fed for its next step, on its way from the host into the step's buffers.
//
// Each region has pinned memory on the host and staging memory on the device. What is put is copied
// to the pinned memory, and from there, on a stream of its own, to the device, while steps run. A
// step then begins with a copy on the device, on the compute stream: the addresses that its graph
// knows stay what they are. Where ranks share GPUs the compute stream does both: see
// Rank::shares_gpus.
//
// All calls come from the rank's own thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "backends/nccl/execution/arena.h"
#include "backends/nccl/execution/rank.h"
#include "tp/core/status.h"
#include "tp/runtime/region.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

class Feeds {
 public:
  // Both outlive it.
  Feeds(Rank& rank, const Schedule& schedule) : rank_(rank), schedule_(schedule) {}
  // No step may be under way.
  ~Feeds();
  Feeds(const Feeds&) = delete;
  Feeds& operator=(const Feeds&) = delete;

  // Whether Put would allocate nothing. Before one that does, no step may be under way.
  bool Has(const Region& region) const;

  // Copies `bytes` and returns while they travel on. Waits for the step to begin that takes what
  // was put before. Errors: see Executor::Feed.
  Status Put(const Region& region, std::span<const std::byte> bytes, Arena& arena);

  // Lets what is enqueued on the compute stream from now on find what was put.
  Status EnqueueCopies(Arena& arena);

 private:
  struct Staged {
    Region region;
    std::byte* host = nullptr;  // pinned
    std::byte* device = nullptr;
    bool fresh = false;  // put, and no step takes it yet
  };

  Status Make(const Region& region, Arena& arena);
  Status MakeStreams();
  Status AwaitEvent(cudaEvent_t event, bool recorded, std::string_view what);
  cudaStream_t compute() const { return rank_.stream(Stream::kCompute); }

  Rank& rank_;
  const Schedule& schedule_;
  std::vector<Region> regions_;
  std::vector<Staged> staged_;     // by region
  cudaStream_t stream_ = nullptr;  // for copies to the device
  cudaEvent_t arrived_ = nullptr;  // all that was put is on the device
  cudaEvent_t taken_ = nullptr;    // the last step that took something has copied it
  bool put_ = false;               // arrived_ is recorded
  bool took_ = false;              // taken_ is recorded
};

}  // namespace tp::nccl
