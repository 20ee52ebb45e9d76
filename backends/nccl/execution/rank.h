// Rank: what one rank owns on its GPU besides the buffers: streams, cuBLASLt, communicators.
//
// All calls come from the rank's own thread, with its device current. Those that talk to other
// ranks are made by all ranks in the same order.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/nccl/backend.h"
#include "backends/nccl/collectives/communicator.h"
#include "backends/nccl/collectives/peer_memory.h"
#include "backends/nccl/control/control.h"
#include "backends/nccl/execution/arena.h"
#include "backends/nccl/kernels/gemm.h"
#include "backends/nccl/kernels/gemm_search.h"
#include "tp/core/status.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

// The place of world rank `rank`, one of `group`, in it.
inline int MemberOf(const std::vector<int>& group, int rank) {
  return static_cast<int>(std::find(group.begin(), group.end(), rank) - group.begin());
}

class Rank {
 public:
  // Makes `device` current and connects all ranks of `control`.
  static StatusOr<std::unique_ptr<Rank>> Create(int device, Control& control,
                                                const Options& options);
  ~Rank();
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  Control& control() { return control_; }
  const Options& options() const { return options_; }
  // Null but for the compute stream until MakeStream.
  cudaStream_t stream(Stream stream) const { return streams_[static_cast<int>(stream)]; }
  // One on which collectives run. Those of two streams may meet on the GPU; each waits for its own
  // group alone.
  Status MakeStream(Stream stream);
  // One for what tells others that something is there: no stream of the schedule waits for it.
  // Null until MakeTellStream.
  cudaStream_t tell_stream() const { return tell_stream_; }
  Status MakeTellStream();
  // Whether there are fewer GPUs than ranks. Then a rank has one stream: CUDA has only so many
  // queues a GPU, and behind a kernel that waits for another rank, in a queue with one of that
  // rank's streams, the kernel that it waits for would never begin.
  bool shares_gpus() const { return shares_gpus_; }
  const GemmContext& gemm_context() const { return gemm_context_; }
  GemmTimes& gemm_times() { return gemm_times_; }

  // NCCL's communicator of `group` (world ranks in member order, this one among them), made on
  // first use.
  StatusOr<Communicator*> CommunicatorOf(const std::vector<int>& group);
  // Not 0 once this rank has failed. For kernels that wait for other ranks.
  const unsigned* stop() const { return stop_; }

  // Polls `done` as WaitUntil does, and asks NCCL for errors meanwhile. What goes wrong fails the
  // world: see Fail.
  Status Wait(std::string_view what, const std::function<StatusOr<bool>()>& done);
  // Until all streams are idle.
  Status WaitForStreams(std::string_view what);

  // Tells the other ranks of `error`, ends what runs here, and returns the error as this rank
  // should report it: its own, or the first one's.
  Status Fail(const Status& error);
  // Whether nothing runs on the device any more; memory may be freed only then.
  bool idle() const { return idle_; }

  // Takes memory that others may still reach. FreeRetired, which all ranks call alike, frees it
  // once nobody does.
  void Retire(std::unique_ptr<Arena> arena, std::unique_ptr<PeerMemory> memory);
  Status FreeRetired();

  // Graphs that hold collectives: they must go before a communicator can be aborted. A graph that
  // is dropped by Fail is null afterwards.
  void Hold(cudaGraphExec_t* graph) { graphs_.insert(graph); }
  void Drop(cudaGraphExec_t* graph);

 private:
  struct Group {
    std::vector<int> members;
    std::unique_ptr<Communicator> own;  // null where it is the world's
    Communicator* communicator = nullptr;
  };

  Rank(Control& control, const Options& options) : control_(control), options_(options) {}
  Status Init(int device);
  Status MakeStream(cudaStream_t* stream);
  StatusOr<bool> StreamsIdle() const;

  Control& control_;
  const Options options_;
  cudaStream_t streams_[kMostStreams] = {};  // null until they are made
  cudaStream_t tell_stream_ = nullptr;
  bool shares_gpus_ = false;
  GemmContext gemm_context_;
  GemmTimes gemm_times_;
  unsigned* stop_ = nullptr;             // in the host's memory
  std::unique_ptr<Communicator> world_;  // null until it is needed
  std::vector<Group> groups_;
  std::set<cudaGraphExec_t*> graphs_;
  std::vector<std::unique_ptr<Arena>> retired_arenas_;
  std::vector<std::unique_ptr<PeerMemory>> retired_memories_;
  bool failed_ = false;
  bool idle_ = true;
};

}  // namespace tp::nccl
