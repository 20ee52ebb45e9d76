// Recursive vector halving and distance doubling (Thakur, Rabenseifner, Gropp, "Optimization of
// collective communication operations in MPICH", IJHPCA 19, 2005).
//
// The core wants a power of two of members. Of P = 2^k + r, the members 0, 2, .., 2r-2 fold into
// their right neighbours: they hand over their part before and are handed the result after. What is
// left is the core, places 0..2^k-1, in the order of the members.
//
// In place nothing is overwritten while it may be unread: what a member gives away in a halving
// step comes back in the doubling step with the same partner.
#include <bit>

#include "sim/collectives/exchange.h"

namespace tp::sim {
namespace {

class Core {
 public:
  explicit Core(const Exchange& x)
      : x_(x),
        size_(static_cast<int>(std::bit_floor(static_cast<unsigned>(x.members())))),
        folded_(x.members() - size_) {}

  int size() const { return size_; }
  bool InFold() const { return x_.member() < 2 * folded_; }
  bool FoldsAway() const { return InFold() && x_.member() % 2 == 0; }
  int FoldPartner() const { return x_.member() ^ 1; }

  // A member's place in the core, and back.
  int Place() const { return InFold() ? x_.member() / 2 : x_.member() - folded_; }
  int MemberAt(int place) const { return place < folded_ ? 2 * place + 1 : place + folded_; }

  // The bytes that belong to places [first, last). Where the array is one block, each place has an
  // even share; else it has its member's block and that of the member folded into it.
  Range Places(int first, int last) const {
    if (x_.offsets.empty()) {
      const Range whole = Whole(x_);
      return {Part(whole, x_.element_bytes(), size_, first).begin,
              Part(whole, x_.element_bytes(), size_, last - 1).end};
    }
    return {x_.offsets[FirstBlock(first)], x_.offsets[FirstBlock(last)]};
  }

  // Halves what the members of a shrinking group share, until each holds its own place's part,
  // reduced, at `final`, as an array that starts with that part. On the way, sums lie in `sums`;
  // the first summand in `local`.
  Status Halve(const std::byte* local, std::byte* sums, std::byte* final) const {
    for (int half = size_ / 2; half > 0; half /= 2) {
      const int partner = Place() ^ half;
      const int keep_first = Place() & ~(half - 1);
      const int give_first = partner & ~(half - 1);
      const Range keep = Places(keep_first, keep_first + half);
      const Range give = Places(give_first, give_first + half);
      TP_RETURN_IF_ERROR(x_.endpoint.Send(MemberAt(partner), give.Of(local)));
      const auto to = half == 1 ? std::span<std::byte>(final, keep.size()) : keep.Of(sums);
      TP_RETURN_IF_ERROR(x_.endpoint.RecvReduce(MemberAt(partner), keep.Of(local), to,
                                                x_.call.dtype, x_.call.reduction));
      local = sums;
    }
    return OkStatus();
  }

  // Doubles what each member has of `x.out`, from its own place's part to all of it.
  Status Double() const {
    for (int half = 1; half < size_; half *= 2) {
      const int partner = Place() ^ half;
      const int have_first = Place() & ~(half - 1);
      const int lack_first = partner & ~(half - 1);
      const Range have = Places(have_first, have_first + half);
      const Range lack = Places(lack_first, lack_first + half);
      TP_RETURN_IF_ERROR(x_.endpoint.Send(MemberAt(partner), have.Of(x_.out)));
      TP_RETURN_IF_ERROR(x_.endpoint.Recv(MemberAt(partner), lack.Of(x_.out)));
    }
    return OkStatus();
  }

 private:
  int FirstBlock(int place) const { return place < folded_ ? 2 * place : place + folded_; }

  const Exchange& x_;
  const int size_;
  const int folded_;  // members that fold away
};

Range Block(const Exchange& x, int block) { return {x.offsets[block], x.offsets[block + 1]}; }

// What lies before and behind a block.
struct Rest {
  Range ranges[2];
};
Rest AllBut(const Exchange& x, Range block) {
  return {{{0, block.begin}, {block.end, x.offsets[x.members()]}}};
}

}  // namespace

Status HalvingDoublingAllReduce(const Exchange& x) {
  const Core core(x);
  const Range whole = Whole(x);
  if (core.FoldsAway()) {
    TP_RETURN_IF_ERROR(x.endpoint.Send(core.FoldPartner(), whole.Of(x.in)));
    return x.endpoint.Recv(core.FoldPartner(), whole.Of(x.out));
  }
  const std::byte* local = x.in;
  if (core.InFold()) {
    TP_RETURN_IF_ERROR(x.endpoint.RecvReduce(core.FoldPartner(), whole.Of(x.in), whole.Of(x.out),
                                             x.call.dtype, x.call.reduction));
    local = x.out;
  }
  std::byte* own = x.out + core.Places(core.Place(), core.Place() + 1).begin;
  TP_RETURN_IF_ERROR(core.Halve(local, x.out, own));
  TP_RETURN_IF_ERROR(core.Double());
  if (core.InFold()) return x.endpoint.Send(core.FoldPartner(), whole.Of(x.out));
  return OkStatus();
}

// Who folds away keeps its own block's summand to itself and adds it at the end.
Status HalvingDoublingReduceScatter(const Exchange& x) {
  const Core core(x);
  const Range mine = Block(x, x.member());
  if (core.FoldsAway()) {
    for (const Range& range : AllBut(x, mine).ranges) {
      TP_RETURN_IF_ERROR(x.endpoint.Send(core.FoldPartner(), range.Of(x.in)));
    }
    return x.endpoint.RecvReduce(core.FoldPartner(), mine.Of(x.in), {x.out, mine.size()},
                                 x.call.dtype, x.call.reduction);
  }
  if (!core.InFold()) return core.Halve(x.in, x.scratch, x.out);
  const Range partners = Block(x, core.FoldPartner());
  for (const Range& range : AllBut(x, partners).ranges) {
    TP_RETURN_IF_ERROR(x.endpoint.RecvReduce(core.FoldPartner(), range.Of(x.in),
                                             range.Of(x.scratch), x.call.dtype, x.call.reduction));
  }
  x.endpoint.Copy(x.in + partners.begin, partners.Of(x.scratch));
  TP_RETURN_IF_ERROR(core.Halve(x.scratch, x.scratch, x.scratch + partners.begin));
  x.endpoint.Copy(x.scratch + mine.begin, {x.out, mine.size()});
  return x.endpoint.Send(core.FoldPartner(), partners.Of(x.scratch));
}

Status HalvingDoublingAllGather(const Exchange& x) {
  const Core core(x);
  const Range mine = Block(x, x.member());
  if (core.FoldsAway()) {
    TP_RETURN_IF_ERROR(x.endpoint.Send(core.FoldPartner(), {x.in, mine.size()}));
    x.endpoint.Copy(x.in, mine.Of(x.out));
    for (const Range& range : AllBut(x, mine).ranges) {
      TP_RETURN_IF_ERROR(x.endpoint.Recv(core.FoldPartner(), range.Of(x.out)));
    }
    return OkStatus();
  }
  x.endpoint.Copy(x.in, mine.Of(x.out));
  if (!core.InFold()) return core.Double();
  const Range partners = Block(x, core.FoldPartner());
  TP_RETURN_IF_ERROR(x.endpoint.Recv(core.FoldPartner(), partners.Of(x.out)));
  TP_RETURN_IF_ERROR(core.Double());
  for (const Range& range : AllBut(x, partners).ranges) {
    TP_RETURN_IF_ERROR(x.endpoint.Send(core.FoldPartner(), range.Of(x.out)));
  }
  return OkStatus();
}

}  // namespace tp::sim
