// Direct: every pair of members exchanges what the one has and the other needs. Reductions take the
// members in their order, so that the result is the plain sum from member 0 to member P-1.
#include "sim/collectives/exchange.h"

namespace tp::sim {
namespace {

Range Block(const Exchange& x, int block) {
  if (!x.offsets.empty()) return {x.offsets[block], x.offsets[block + 1]};
  return Part(Whole(x), x.element_bytes(), x.members(), block);
}

// Reduces the member's own block to `own`. What comes before it in the order is summed in scratch.
Status ReduceScatter(const Exchange& x, std::byte* own) {
  for (int step = 1; step < x.members(); ++step) {
    const int to = x.Neighbour(step);
    TP_RETURN_IF_ERROR(x.endpoint.Send(to, Block(x, to).Of(x.in)));
  }
  const Range block = Block(x, x.member());
  const std::span<std::byte> before(x.scratch, x.member() > 1 ? block.size() : 0);
  const std::span<std::byte> result(own, block.size());
  std::span<const std::byte> sum = block.Of(x.in);
  for (int from = 0; from < x.members(); ++from) {
    if (from == x.member()) {
      if (from > 1)
        x.endpoint.Reduce(before, block.Of(x.in), result, x.call.dtype, x.call.reduction);
      if (from > 0) sum = result;
    } else if (from > x.member() || x.member() == 1) {  // with one before it: a + b is b + a
      TP_RETURN_IF_ERROR(x.endpoint.RecvReduce(from, sum, result, x.call.dtype, x.call.reduction));
      sum = result;
    } else if (from == 0) {
      TP_RETURN_IF_ERROR(x.endpoint.Recv(from, before));
    } else {
      TP_RETURN_IF_ERROR(
          x.endpoint.RecvReduce(from, before, before, x.call.dtype, x.call.reduction));
    }
  }
  return OkStatus();
}

Status AllGather(const Exchange& x, const std::byte* own) {
  const Range mine = Block(x, x.member());
  for (int step = 1; step < x.members(); ++step) {
    TP_RETURN_IF_ERROR(x.endpoint.Send(x.Neighbour(step), {own, mine.size()}));
  }
  x.endpoint.Copy(own, mine.Of(x.out));
  for (int step = 1; step < x.members(); ++step) {
    const int from = x.Neighbour(-step);
    TP_RETURN_IF_ERROR(x.endpoint.Recv(from, Block(x, from).Of(x.out)));
  }
  return OkStatus();
}

}  // namespace

Status DirectReduceScatter(const Exchange& x) { return ReduceScatter(x, x.out); }

Status DirectAllGather(const Exchange& x) { return AllGather(x, x.in); }

Status DirectAllReduce(const Exchange& x) {
  std::byte* own = x.out + Block(x, x.member()).begin;
  TP_RETURN_IF_ERROR(ReduceScatter(x, own));
  return AllGather(x, own);
}

Status DirectBroadcast(const Exchange& x) {
  const Range whole = Whole(x);
  if (x.member() != x.call.root) return x.endpoint.Recv(x.call.root, whole.Of(x.out));
  for (int step = 1; step < x.members(); ++step) {
    TP_RETURN_IF_ERROR(x.endpoint.Send(x.Neighbour(step), whole.Of(x.in)));
  }
  x.endpoint.Copy(x.in, whole.Of(x.out));
  return OkStatus();
}

// In step s everybody sends s places to the right and receives from s places to the left.
Status DirectAllToAll(const Exchange& x) {
  const int p = x.members();
  const auto bytes = [&](int from, int to) {
    return x.call.counts[from * p + to] * x.element_bytes();
  };
  // Where blocks to (from) each member begin in the input (output).
  const auto block_in = [&](int to) {
    int64_t begin = 0;
    for (int i = 0; i < to; ++i) begin += bytes(x.member(), i);
    return Range{begin, begin + bytes(x.member(), to)};
  };
  const auto block_out = [&](int from) {
    int64_t begin = 0;
    for (int i = 0; i < from; ++i) begin += bytes(i, x.member());
    return Range{begin, begin + bytes(from, x.member())};
  };
  const std::byte* in = x.in;
  if (x.in == x.out) {  // blocks may differ in size, so that none has a place of its own
    const Range all = {0, block_in(p - 1).end};
    x.endpoint.Copy(x.in, all.Of(x.scratch));
    in = x.scratch;
  }
  for (int step = 1; step < p; ++step) {
    const int to = x.Neighbour(step);
    const int from = x.Neighbour(-step);
    TP_RETURN_IF_ERROR(x.endpoint.Send(to, block_in(to).Of(in)));
    TP_RETURN_IF_ERROR(x.endpoint.Recv(from, block_out(from).Of(x.out)));
  }
  x.endpoint.Copy(block_in(x.member()).Of(in).data(), block_out(x.member()).Of(x.out));
  return OkStatus();
}

// In round k everybody tells the member 2^k places on that it has heard of the 2^k before itself
// (Hensgen, Finkel, Manber, "Two algorithms for barrier synchronization", 1988).
Status DisseminationBarrier(const Exchange& x) {
  for (int distance = 1; distance < x.members(); distance *= 2) {
    TP_RETURN_IF_ERROR(x.endpoint.Send(x.Neighbour(distance), {}));
    TP_RETURN_IF_ERROR(x.endpoint.Recv(x.Neighbour(-distance), {}));
  }
  return OkStatus();
}

}  // namespace tp::sim
