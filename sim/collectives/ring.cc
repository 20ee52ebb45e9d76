// Ring: everybody receives from the left neighbour and sends to the right one (Patarasuk & Yuan,
// JPDC 2009). In place nothing is overwritten while it may be unread: what a member sends comes
// back to that place only after it went around, through the neighbour that read it.
#include "sim/collectives/exchange.h"

namespace tp::sim {
namespace {

Range Block(const Exchange& x, int block) {
  if (!x.offsets.empty()) return {x.offsets[block], x.offsets[block + 1]};
  return Part(Whole(x), x.element_bytes(), x.members(), block);
}

// Block b starts at member b + 1 and is complete at member b. Partial sums lie in `partial`, by
// block as in `in`; the member's own block ends at `own`.
Status ReduceScatter(const Exchange& x, std::byte* partial, std::byte* own) {
  const std::byte* source = x.in;
  for (int step = 1; step < x.members(); ++step) {
    const Range send = Block(x, x.Neighbour(-step));
    const Range receive = Block(x, x.Neighbour(-step - 1));
    TP_RETURN_IF_ERROR(x.endpoint.Send(x.Neighbour(1), send.Of(source)));
    const bool last = step == x.members() - 1;
    TP_RETURN_IF_ERROR(x.endpoint.RecvReduce(
        x.Neighbour(-1), receive.Of(x.in),
        last ? std::span<std::byte>(own, receive.size()) : receive.Of(partial), x.call.dtype,
        x.call.reduction));
    source = partial;
  }
  return OkStatus();
}

// Block b starts at member b, where it lies at `own`.
Status AllGather(const Exchange& x, const std::byte* own) {
  const Range mine = Block(x, x.member());
  for (int step = 0; step < x.members() - 1; ++step) {
    const Range send = Block(x, x.Neighbour(-step));
    const Range receive = Block(x, x.Neighbour(-step - 1));
    const auto data = step == 0 ? std::span<const std::byte>(own, mine.size()) : send.Of(x.out);
    TP_RETURN_IF_ERROR(x.endpoint.Send(x.Neighbour(1), data));
    if (step == 0) x.endpoint.Copy(own, mine.Of(x.out));
    TP_RETURN_IF_ERROR(x.endpoint.Recv(x.Neighbour(-1), receive.Of(x.out)));
  }
  return OkStatus();
}

}  // namespace

Status RingReduceScatter(const Exchange& x) { return ReduceScatter(x, x.scratch, x.out); }

Status RingAllGather(const Exchange& x) { return AllGather(x, x.in); }

Status RingAllReduce(const Exchange& x) {
  std::byte* own = x.out + Block(x, x.member()).begin;
  TP_RETURN_IF_ERROR(ReduceScatter(x, x.out, own));
  return AllGather(x, own);
}

Status RingBroadcast(const Exchange& x) {
  const Range whole = Whole(x);
  const int pieces = PipelinePieces(whole.end);
  const bool first = x.member() == x.call.root;
  const bool last = x.Neighbour(1) == x.call.root;
  const std::byte* source = first ? x.in : x.out;
  for (int i = 0; i < pieces; ++i) {
    const Range piece = Part(whole, x.element_bytes(), pieces, i);
    if (!first) TP_RETURN_IF_ERROR(x.endpoint.Recv(x.Neighbour(-1), piece.Of(x.out)));
    if (!last) TP_RETURN_IF_ERROR(x.endpoint.Send(x.Neighbour(1), piece.Of(source)));
  }
  if (first) x.endpoint.Copy(x.in, whole.Of(x.out));
  return OkStatus();
}

}  // namespace tp::sim
