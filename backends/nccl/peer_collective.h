// One collective of a Schedule over peer memory, for members whose GPUs reach one another's memory.
//
//   direct   everybody sends everybody what is theirs, with flags beside the data, and each sums up
//            or puts together what came: one way over the link, for what is small
//   copies   the GPU's copy engine writes to the others' receive buffers, between two meetings: no
//            multiprocessor is taken from a product beside it. all_gather, broadcast, all_to_all
//   shares   each member sums its share over all members' send buffers, and, for all_reduce, writes
//            the sum to all receive buffers. all_reduce, reduce_scatter
//
// Blocks may differ and be empty. A sum has the same bits on every member (peer_kernels.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "backends/nccl/backend.h"
#include "backends/nccl/peer_kernels.h"
#include "tp/core/collective.h"
#include "tp/core/status.h"

namespace tp::nccl {

enum class PeerAlgorithm { kDirect, kCopies, kShares };
// "peer direct", "peer copies", "peer shares".
std::string_view Name(PeerAlgorithm algorithm);

// Which one it is depends on the call alone, so all members agree. kAuto is what two H200 over
// NVLink were fastest with.
PeerAlgorithm ChoosePeerAlgorithm(const CollectiveCall& call, int members, Peers peers);

// A member's memory, at the addresses by which this one reaches it.
struct PeerMember {
  char* send = nullptr;
  char* receive = nullptr;
  char* scratch = nullptr;  // PeerCollective::ScratchBytes, aligned to 16 bytes, zero at first
};

class PeerCollective {
 public:
  static int64_t ScratchBytes(const CollectiveCall& call, int members, PeerAlgorithm algorithm);

  // 2 to kMostPeers members. `call` has elements. `stop` is read by the device: once it is not 0,
  // kernels end without a result.
  PeerCollective(CollectiveCall call, PeerAlgorithm algorithm, int me,
                 const std::vector<PeerMember>& members, const unsigned* stop);

  PeerAlgorithm algorithm() const { return algorithm_; }
  // Returns when it is enqueued. `begun` may be given for kShares: see EnqueueShareSum.
  Status Enqueue(cudaStream_t stream, cudaEvent_t begun = nullptr) const;

 private:
  Status EnqueueCopies(cudaStream_t stream) const;

  CollectiveCall call_;
  PeerAlgorithm algorithm_;
  std::vector<PeerMember> members_;
  Exchange exchange_;  // kDirect; kCopies uses its transfers
  ShareSum share_;     // kShares
};

// What all members together send by `algorithm`, in bytes, as its definition says: the least that
// can be (tp/core/collective.h), but p (p - 1) n for the direct all_reduce of n by p members.
int64_t StatedBytes(const CollectiveCall& call, int members, PeerAlgorithm algorithm);

// What member `index` sends, in bytes: counted from the transfers that its kernels are given.
int64_t BytesSent(const CollectiveCall& call, int members, int index, PeerAlgorithm algorithm);

}  // namespace tp::nccl
