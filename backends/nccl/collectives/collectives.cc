#include "backends/nccl/collectives/collectives.h"

#include <glog/logging.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "backends/nccl/error.h"
#include "tp/core/shard_geometry.h"

namespace tp::nccl {
namespace {

ncclDataType_t TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return ncclFloat64;
    case DType::kFloat32:
      return ncclFloat32;
    case DType::kBFloat16:
      return ncclBfloat16;
    case DType::kFloat16:
      return ncclFloat16;
    case DType::kInt32:
      return ncclInt32;
  }
  LOG(FATAL) << "no such type: " << static_cast<int>(dtype);
}

ncclRedOp_t OpOf(Reduction reduction) {
  switch (reduction) {
    case Reduction::kSum:
      return ncclSum;
    case Reduction::kMax:
      return ncclMax;
    case Reduction::kMin:
      return ncclMin;
  }
  LOG(FATAL) << "no such reduction: " << static_cast<int>(reduction);
}

bool EqualBlocks(const std::vector<int64_t>& counts) {
  return std::all_of(counts.begin(), counts.end(), [&](int64_t n) { return n == counts[0]; });
}

// One call's operands, with addresses by element.
struct Operands {
  Communicator& comm;
  const CollectiveCall& call;
  const char* send;
  char* receive;
  cudaStream_t stream;

  ncclDataType_t type() const { return TypeOf(call.dtype); }
  const char* Send(int64_t element) const { return send + element * SizeOf(call.dtype); }
  char* Receive(int64_t element) const { return receive + element * SizeOf(call.dtype); }
};

// Runs `issue` for each block that has elements, with its place in the whole, as one group.
template <typename Issue>
Status InGroup(const Operands& x, const char* call, int blocks, const int64_t* counts,
               const Issue& issue) {
  TP_RETURN_IF_ERROR(FromNccl(ncclGroupStart(), x.comm.get(), "ncclGroupStart"));
  ncclResult_t first = ncclSuccess;
  int64_t offset = 0;
  for (int i = 0; i < blocks; ++i) {
    if (counts[i] > 0) {
      const ncclResult_t result = issue(i, offset, counts[i]);
      if (first == ncclSuccess && result != ncclInProgress) first = result;
    }
    offset += counts[i];
  }
  const ncclResult_t ended = ncclGroupEnd();
  return x.comm.Finish(first == ncclSuccess ? ended : first, call);
}

Status AllGather(const Operands& x) {
  const std::vector<int64_t>& counts = x.call.counts;
  if (EqualBlocks(counts)) {
    return x.comm.Finish(
        ncclAllGather(x.send, x.receive, counts[0], x.type(), x.comm.get(), x.stream),
        "ncclAllGather");
  }
  return InGroup(x, "ncclBroadcast of each block", x.comm.size(), counts.data(),
                 [&](int root, int64_t offset, int64_t count) {
                   const void* from = root == x.comm.rank() ? x.send : x.Receive(offset);
                   return ncclBroadcast(from, x.Receive(offset), count, x.type(), root,
                                        x.comm.get(), x.stream);
                 });
}

Status ReduceScatter(const Operands& x) {
  const std::vector<int64_t>& counts = x.call.counts;
  const ncclRedOp_t op = OpOf(x.call.reduction);
  if (EqualBlocks(counts)) {
    return x.comm.Finish(
        ncclReduceScatter(x.send, x.receive, counts[0], x.type(), op, x.comm.get(), x.stream),
        "ncclReduceScatter");
  }
  // Only the root's receive address is read.
  return InGroup(x, "ncclReduce of each block", x.comm.size(), counts.data(),
                 [&](int root, int64_t offset, int64_t count) {
                   return ncclReduce(x.Send(offset), x.receive, count, x.type(), op, root,
                                     x.comm.get(), x.stream);
                 });
}

Status AllToAll(const Operands& x) {
  const int members = x.comm.size();
  const int me = x.comm.rank();
  const std::vector<int64_t>& counts = x.call.counts;
  std::vector<int64_t> come(members);  // from each member to this one
  for (int i = 0; i < members; ++i) come[i] = counts[i * members + me];
  TP_RETURN_IF_ERROR(FromNccl(ncclGroupStart(), x.comm.get(), "ncclGroupStart"));
  ncclResult_t first = ncclSuccess;
  int64_t sent = 0, received = 0;
  for (int i = 0; i < members; ++i) {
    const int64_t go = counts[me * members + i];
    for (ncclResult_t result :
         {go == 0 ? ncclSuccess : ncclSend(x.Send(sent), go, x.type(), i, x.comm.get(), x.stream),
          come[i] == 0
              ? ncclSuccess
              : ncclRecv(x.Receive(received), come[i], x.type(), i, x.comm.get(), x.stream)}) {
      if (first == ncclSuccess && result != ncclInProgress) first = result;
    }
    sent += go;
    received += come[i];
  }
  const ncclResult_t ended = ncclGroupEnd();
  return x.comm.Finish(first == ncclSuccess ? ended : first, "ncclSend and ncclRecv");
}

}  // namespace

Status EnqueueCollective(Communicator& comm, const CollectiveCall& call, const void* send,
                         void* receive, cudaStream_t stream) {
  if (TotalElements(call) == 0) return OkStatus();
  const Operands x{comm, call, static_cast<const char*>(send), static_cast<char*>(receive), stream};
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
      return comm.Finish(ncclAllReduce(send, receive, call.counts[0], x.type(),
                                       OpOf(call.reduction), comm.get(), stream),
                         "ncclAllReduce");
    case CollectiveKind::kAllGather:
      return AllGather(x);
    case CollectiveKind::kReduceScatter:
      return ReduceScatter(x);
    case CollectiveKind::kBroadcast:
      return comm.Finish(
          ncclBroadcast(send, receive, call.counts[0], x.type(), call.root, comm.get(), stream),
          "ncclBroadcast");
    case CollectiveKind::kAllToAll:
      return AllToAll(x);
    case CollectiveKind::kBarrier:
      break;  // holds no element: returned above
  }
  LOG(FATAL) << "no such collective: " << static_cast<int>(call.kind);
}

int64_t BytesSent(const CollectiveCall& call, int members, int index) {
  const int64_t total = TotalElements(call);
  const auto elements = [&]() -> int64_t {
    switch (call.kind) {
      case CollectiveKind::kAllReduce:  // every block but one's own, to be summed; then likewise
        return 2 * (total - ShardGeometry(total, members).Length(index));
      case CollectiveKind::kReduceScatter:
        return total - call.counts[index];
      case CollectiveKind::kAllGather:
        return (members - 1) * call.counts[index];
      case CollectiveKind::kBroadcast:
        return index == call.root ? (members - 1) * total : 0;
      case CollectiveKind::kAllToAll: {
        const auto mine = call.counts.begin() + index * members;
        return std::accumulate(mine, mine + members, int64_t{0}) - mine[index];
      }
      case CollectiveKind::kBarrier:
        return 0;
    }
    LOG(FATAL) << "no such collective: " << static_cast<int>(call.kind);
  };
  return elements() * SizeOf(call.dtype);
}

}  // namespace tp::nccl
