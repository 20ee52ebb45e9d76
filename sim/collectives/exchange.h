// Exchange: what an algorithm knows of the one collective that it carries out for one member, and
// the algorithms themselves, one function for each form. All block the calling agent, and fail only
// as Endpoint does; none returns before it has posted and received all, but posted messages may
// still be unread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/collectives/algorithm.h"
#include "sim/fabric/endpoint.h"
#include "tp/core/collective.h"
#include "tp/core/dtype.h"
#include "tp/core/shard_geometry.h"
#include "tp/core/status.h"

namespace tp::sim {

struct Exchange {
  Endpoint& endpoint;
  const CollectiveCall& call;

  // Byte offsets of the P blocks of the whole array, and its size behind the last: for all_gather
  // and reduce_scatter, the call's blocks. Empty for other kinds.
  std::span<const int64_t> offsets;

  // The member's input and output, as CollectiveCall lays them out. `out` may be `in`, and for
  // all_gather and reduce_scatter the smaller may be its own block in the larger.
  const std::byte* in;
  std::byte* out;

  // ScratchBytes(call, algorithm, member, P) bytes.
  std::byte* scratch;

  int member() const { return endpoint.member(); }
  int members() const { return endpoint.size(); }
  int64_t element_bytes() const { return SizeOf(call.dtype); }

  // Member number `member` + `distance`, counted around the ring.
  int Neighbour(int distance) const {
    return ((member() + distance) % members() + members()) % members();
  }
};

// Bytes [begin, end) of an array.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;

  size_t size() const { return static_cast<size_t>(end - begin); }
  std::span<const std::byte> Of(const std::byte* array) const { return {array + begin, size()}; }
  std::span<std::byte> Of(std::byte* array) const { return {array + begin, size()}; }
};

// Part `part` of the elements of `whole`, as ShardGeometry cuts them.
inline Range Part(Range whole, int64_t element_bytes, int parts, int part) {
  const ShardGeometry cut((whole.end - whole.begin) / element_bytes, parts);
  return {whole.begin + cut.Offset(part) * element_bytes,
          whole.begin + cut.Offset(part + 1) * element_bytes};
}

// All of an array that is one block to its call.
inline Range Whole(const Exchange& x) { return {0, x.call.counts[0] * x.element_bytes()}; }

// In how many pieces a pipeline of several hops cuts `bytes`: pieces are large against the cost of
// one message, and few, because each costs every member a hand-off.
inline int PipelinePieces(int64_t bytes) {
  constexpr int64_t kPieceBytes = 16 << 10;
  constexpr int64_t kMaxPieces = 16;
  return static_cast<int>(std::clamp<int64_t>(bytes / kPieceBytes, 1, kMaxPieces));
}

// What `algorithm`, which has a form for the call, keeps in `scratch`.
int64_t ScratchBytes(const CollectiveCall& call, Algorithm algorithm, int member, int members);

// Fills `offsets` as an Exchange has them, of which it needs members + 1 at the most.
void BlockOffsets(const CollectiveCall& call, std::vector<int64_t>& offsets);

// Carries the call out by `algorithm`, which has a form for it, among two members or more.
Status Carry(const Exchange& x, Algorithm algorithm);

Status RingAllReduce(const Exchange& x);
Status RingAllGather(const Exchange& x);
Status RingReduceScatter(const Exchange& x);
Status RingBroadcast(const Exchange& x);

Status TreeAllReduce(const Exchange& x);
Status TreeBroadcast(const Exchange& x);

Status HalvingDoublingAllReduce(const Exchange& x);
Status HalvingDoublingAllGather(const Exchange& x);
Status HalvingDoublingReduceScatter(const Exchange& x);

Status DirectAllReduce(const Exchange& x);
Status DirectAllGather(const Exchange& x);
Status DirectReduceScatter(const Exchange& x);
Status DirectBroadcast(const Exchange& x);
Status DirectAllToAll(const Exchange& x);
Status DisseminationBarrier(const Exchange& x);

}  // namespace tp::sim
