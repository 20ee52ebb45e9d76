// One collective of a Schedule over peer memory, for members whose GPUs reach one another's memory.
//
//   direct     everybody sends everybody what is theirs, with flags beside the data, and each sums
//              up or puts together what came: one way over the link, for what is small
//   two steps  the same, but each sums up its share only and then sends the sum to all: twice over
//              the link and, among more than two, fewer bytes. all_reduce
//   writes     each writes what is theirs to the others' receive buffers, between two meetings.
//              all_gather, broadcast, all_to_all
//   copies     the same by the GPU's copy engine: no multiprocessor is taken from a product beside
//              it. all_gather, broadcast, all_to_all
//              A turn, in which each member sends to one other, may go without the meetings: see
//              SendTurn.
//   shares     each member sums its share over all members' send buffers, between two meetings,
//   and,
//              for all_reduce, writes the sum to all receive buffers. all_reduce, reduce_scatter
//
// Blocks may differ and be empty. A sum has the same bits on every member and by every algorithm
// (peer_kernels.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "backends/nccl/backend.h"
#include "backends/nccl/collectives/peer_kernels.h"
#include "tp/core/collective.h"
#include "tp/core/status.h"

namespace tp::nccl {

enum class PeerAlgorithm { kDirect, kTwoSteps, kWrites, kCopies, kShares };
inline constexpr PeerAlgorithm kAllPeerAlgorithms[] = {
    PeerAlgorithm::kDirect, PeerAlgorithm::kTwoSteps, PeerAlgorithm::kWrites,
    PeerAlgorithm::kCopies, PeerAlgorithm::kShares};
// "peer direct", "peer two steps", ...
std::string_view Name(PeerAlgorithm algorithm);

// True if collectives of `kind` have a form of this algorithm, as listed above.
bool HasForm(CollectiveKind kind, PeerAlgorithm algorithm);

// Which one it is depends on the call alone, so all members agree. kAuto is what H200s over NVLink,
// two or four of them, were fastest with.
PeerAlgorithm ChoosePeerAlgorithm(const CollectiveCall& call, int members, Peers peers);

// From how many bytes of a member on an all_gather is one of copies; 0: none is.
int64_t LeastCopied(Peers peers);

// A member's memory, at the addresses by which this one reaches it.
struct PeerMember {
  char* send = nullptr;
  char* receive = nullptr;
  char* scratch = nullptr;  // PeerCollective::ScratchBytes, aligned to 16 bytes, zero at first
};

class PeerCollective {
 public:
  static int64_t ScratchBytes(const CollectiveCall& call, int members, PeerAlgorithm algorithm);

  // 2 to kMostPeers members. `call` has elements, and its kind a form of `algorithm`. `stop` is
  // read by the device: once it is not 0, kernels end without a result. Where ranks share GPUs no
  // kernel takes more than kMostPeerBlocks multiprocessors: what a rank waits for may be another
  // one's product on the same GPU, whose blocks may need multiprocessors of their own.
  PeerCollective(CollectiveCall call, PeerAlgorithm algorithm, int me,
                 const std::vector<PeerMember>& members, const unsigned* stop, bool shares_gpus);

  PeerAlgorithm algorithm() const { return algorithm_; }
  // Whether it takes multiprocessors and waits there for the others to come, before it does
  // anything: see EnqueueShareSum.
  bool MeetsOnMultiprocessors() const {
    return algorithm_ == PeerAlgorithm::kShares || algorithm_ == PeerAlgorithm::kWrites;
  }
  // Returns when it is enqueued. `begun` may be given where it MeetsOnMultiprocessors: it passes
  // once the collective has these; and for copies: it passes when all members have come.
  Status Enqueue(cudaStream_t stream, cudaEvent_t begun = nullptr) const;

  // A turn by copies, as its parts. Before it is sent, the receiver's memory must be free: by a
  // meeting (`begun`: as above) or by what the caller knows. Behind what was sent, the receiver is
  // told of the step's number, which lies in this member's memory; it awaits that in `told`.
  int turn() const { return algorithm_ == PeerAlgorithm::kCopies ? turn_ : 0; }
  Status MeetBeforeTurn(cudaStream_t stream, cudaEvent_t begun) const;
  Status SendTurn(cudaStream_t stream) const;
  Status TellOfTurn(const unsigned* step, cudaStream_t stream) const;
  const unsigned* told() const;

 private:
  void PlanExchange(const Meeting& meeting);
  void PlanShare(const Meeting& meeting);
  void PlanWrites(const Meeting& meeting);
  Status EnqueueCopies(cudaStream_t stream, cudaEvent_t begun) const;

  CollectiveCall call_;
  PeerAlgorithm algorithm_;
  std::vector<PeerMember> members_;
  Exchange exchange_;  // kDirect, kTwoSteps
  ShareSum share_;     // kShares
  Writes writes_;      // kWrites, kCopies
  int turn_ = 0;
};

// What all members together send by `algorithm`, in bytes, as its definition says: the least that
// can be (tp/core/collective.h), but p (p - 1) n for the direct all_reduce of n by p members.
int64_t StatedBytes(const CollectiveCall& call, int members, PeerAlgorithm algorithm);

// What member `index` sends, in bytes: counted from the transfers that its kernels are given.
int64_t BytesSent(const CollectiveCall& call, int members, int index, PeerAlgorithm algorithm);

}  // namespace tp::nccl
