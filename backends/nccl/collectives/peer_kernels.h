// The kernels of collectives over peer memory: a member writes to the other members' GPUs itself.
//
// Each call enqueues one kernel, which ends once this member has what it is to have and nobody
// needs anything of it any more that the next step would overwrite. Members must run the same
// kernels for the same calls in the same order, loaded before. A kernel that waits looks at `stop`
// and ends where that is not 0.
//
// Sums are taken in the order of members, in float (double for fp64), and rounded once, at the
// store: the same bits on every member and by every kernel. Sources: lines follow NCCL's LL
// protocol (a flag beside each 4 bytes of data, so that data need no barrier; Hu et al.,
// "Demystifying NCCL", 2025); the sum of a share and its distribution, by lines or in bulk, is the
// reduce-scatter and all-gather of Rabenseifner, "Optimization of collective reduction operations",
// ICCS 2004.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "tp/core/collective.h"

namespace tp::nccl {

inline constexpr int kMostPeers = 8;
// Blocks in which members meet; and those of lines, where other ranks need room on the same GPU.
inline constexpr int kMostPeerBlocks = 32;

// How far a member has come; zero at first. It lies in its own memory and is written by the others.
struct alignas(16) PeerState {
  unsigned step;                                  // that ended last
  unsigned done;                                  // blocks of the step under way that have ended
  unsigned came[2][kMostPeerBlocks][kMostPeers];  // the step in which each block of a member came
                                                  // to begin, and to end
  unsigned told[kMostPeers];                      // by member: the last step it told of
};

// Where members meet.
struct Meeting {
  int members = 0;
  int me = 0;
  PeerState* states[kMostPeers] = {};  // by member
  const unsigned* stop = nullptr;
};

// What goes from one member to another one, in elements.
struct Transfer {
  int64_t send_from = 0;
  int64_t count = 0;
  int64_t receive_at = 0;
};

// A line is 8 bytes of data and two flags. An inbox has two slots, used in turns by the steps, in
// each of them one part a round, and in each of those `lines` for every member.
inline constexpr int64_t kLineBytes = 16;
inline constexpr int64_t kLineData = 8;

struct Exchange {
  Meeting meeting;
  char* inboxes[kMostPeers] = {};  // by member
  int64_t lines = 0;
  int most_blocks = 128;  // on all members the same: each block awaits its like
  const char* send = nullptr;
  char* receive = nullptr;
  Transfer to[kMostPeers];    // from this member
  Transfer from[kMostPeers];  // to this member
  bool reduces = false;       // what comes is summed up, not laid side by side
  int rounds = 1;
  Reduction reduction = Reduction::kSum;
};

// In one round everybody sends to everybody, and each puts together what has come: one way over the
// link. In two rounds, of which `to` and `from` are the members' shares of a whole: each sums up
// its share of what has come and sends the sum to all others. Twice over the link, for fewer bytes.
cudaError_t EnqueueExchange(const Exchange& exchange, DType dtype, cudaStream_t stream);

struct ShareSum {
  Meeting meeting;
  const char* sends[kMostPeers] = {};  // by member: where this member's share begins
  char* receives[kMostPeers] = {};     // where its sum goes
  int receivers = 0;
  int64_t count = 0;  // elements of the share
  Reduction reduction = Reduction::kSum;
};

// Sums this member's share over all members and hands the sum to the receivers. Twice over the
// link where everybody receives, once where only this member does. `begun`, where there is one,
// has passed once the kernel has its multiprocessors.
cudaError_t EnqueueShareSum(const ShareSum& sum, DType dtype, cudaStream_t stream,
                            cudaEvent_t begun);

// Bytes that lie here, and where they go to.
struct Part {
  const char* from = nullptr;
  char* to = nullptr;
  int64_t bytes = 0;
};

struct Writes {
  Meeting meeting;
  Part part[kMostPeers];
  int parts = 0;
};

// Once all have come, writes each part where it goes to: once over the link, without the flags of
// lines. `begun` as above.
cudaError_t EnqueueWrites(const Writes& writes, cudaStream_t stream, cudaEvent_t begun);

enum class MeetTo { kBegin, kEnd };

// Everybody waits for everybody.
cudaError_t EnqueueMeeting(const Meeting& meeting, MeetTo to, cudaStream_t stream);

// Steps may have a number, in a member's memory, the same on all members: 0, then one more each.
cudaError_t EnqueueNextStep(unsigned* step, cudaStream_t stream);

// What others have told of: words in this member's memory.
struct Arrivals {
  const unsigned* told[kMostPeers] = {};
  int count = 0;
  const unsigned* step = nullptr;
  const unsigned* stop = nullptr;
};

// Passes once each word is the step's number. What was copied before it is there then.
cudaError_t EnqueueArrivals(const Arrivals& arrivals, cudaStream_t stream);

// Loads the kernels for `dtype` and so many members on the current device. CUDA loads a kernel when
// it is first launched, which may wait for the device to be idle: for ever, where what runs there
// waits for that launch.
cudaError_t LoadLineKernels(DType dtype, int members);
cudaError_t LoadBulkKernels(DType dtype, int members);
inline cudaError_t LoadPeerKernels(DType dtype, int members) {
  const cudaError_t lines = LoadLineKernels(dtype, members);
  return lines == cudaSuccess ? LoadBulkKernels(dtype, members) : lines;
}

}  // namespace tp::nccl
