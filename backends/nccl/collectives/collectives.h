// One collective of a Schedule as NCCL calls on a stream.
//
//   all_reduce      ncclAllReduce
//   all_gather      ncclAllGather; where blocks differ in length, a ncclBroadcast of each block
//   reduce_scatter  ncclReduceScatter; where blocks differ, a ncclReduce of each block
//   broadcast       ncclBroadcast
//   all_to_all      ncclSend and ncclRecv between each pair
//
// Blocks without elements move nothing, and so do collectives of none.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backends/nccl/collectives/communicator.h"
#include "tp/core/collective.h"
#include "tp/core/status.h"

namespace tp::nccl {

// Returns when it is enqueued. `send` and `receive` as ScheduledOp describes them.
Status EnqueueCollective(Communicator& comm, const CollectiveCall& call, const void* send,
                         void* receive, cudaStream_t stream);

// What member `index` of `members` sends, in bytes, such that all together send the least possible
// (tp/core/collective.h), since NCCL itself does not count: a ring's share for all_reduce and
// reduce_scatter, its own block to every other member for the rest.
int64_t BytesSent(const CollectiveCall& call, int members, int index);

}  // namespace tp::nccl
