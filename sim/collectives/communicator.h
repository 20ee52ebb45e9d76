// Communicator: one rank's member of a group of ranks that run collectives together.
//
// Members are numbered by their place in the group; CollectiveCall says how inputs and outputs are
// laid out by member. Every member makes the same calls in the same order, from one agent each, and
// a call blocks its agent until the member's part is done and its memory is its own again.
//
// Before any data moves the members compare their calls. If kind, counts, dtype, reduction, root or
// algorithm differ, all get INVALID_ARGUMENT, naming two ranks and both their calls. Where one
// never comes, the others get DEADLINE_EXCEEDED (from the seeded scheduler, its deadlock report),
// naming it and the call. Other errors are those of Scheduler::Await and of Endpoint.
//
// The order of reduction is a function of the algorithm, the sizes and the members alone, and every
// member of an all_reduce ends with the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "sim/collectives/algorithm.h"
#include "sim/fabric/endpoint.h"
#include "sim/fabric/fabric.h"
#include "tp/core/collective.h"
#include "tp/core/status.h"

namespace tp::sim {

class Communicator {
 public:
  // Joins group `group_id` of `ranks` (of the world, in group order) as `my_rank`. Does not wait
  // for the others. Errors: as Fabric::Join, which lets a rank into a group once at a time.
  static StatusOr<std::unique_ptr<Communicator>> Create(Fabric& fabric,
                                                        const std::vector<int>& ranks, int my_rank,
                                                        uint64_t group_id);
  ~Communicator();

  // Lets the group own `memory`, from which this member sends, too. It is given back when the last
  // member has left: until then others may still read it, though this one has failed and gone.
  void Share(std::shared_ptr<const void> memory);

  // Reserves what Run needs for this call, so that it allocates nothing. INVALID_ARGUMENT: a wrong
  // number of counts, a negative or absurd one, or a root outside the group.
  Status Prepare(const CollectiveCall& call, Algorithm algorithm);

  // Carries out `call`. `in` and `out` are aligned to an element, and may be null where the member
  // has nothing to read or write. In place is `out == in`; for all_gather also `in` as the member's
  // own block in `out`, for reduce_scatter `out` as its own block in `in`. Otherwise they do not
  // overlap. `in` is left as it was where `out` does not cover it. After an error other members may
  // still be reading both: they must be in memory that was Shared, or live until Scheduler::Run
  // returns.
  Status Run(const CollectiveCall& call, Algorithm algorithm, const void* in, void* out);

  // The algorithm that Run uses when asked for `algorithm`.
  Algorithm Resolve(const CollectiveCall& call, Algorithm algorithm) const {
    return sim::Resolve(call, algorithm, members());
  }

  int member() const { return endpoint_->member(); }
  int members() const { return group_->size(); }

  // Bytes that this member sent in the last Run.
  int64_t last_bytes_sent() const { return last_bytes_sent_; }

  // Bytes that all members together send. Every algorithm here moves the least that any can; so
  // does halving_doubling on sizes that are no powers of two: what folding adds, the smaller core
  // saves.
  static int64_t ExpectedBytesSent(const CollectiveCall& call, Algorithm algorithm, int members);

 private:
  Communicator(Fabric& fabric, std::shared_ptr<Group> group, int rank, int member);

  Status Handshake(const CollectiveCall& call, Algorithm algorithm);
  Status FindMismatch(uint64_t number) const;
  void RunAlone(const CollectiveCall& call, const std::byte* in, std::byte* out) const;

  Fabric& fabric_;
  const std::shared_ptr<Group> group_;
  const int rank_;
  const std::unique_ptr<Endpoint> endpoint_;
  std::vector<int64_t> offsets_;  // see Exchange
  size_t reserved_counts_ = 0;
  int64_t last_bytes_sent_ = 0;
};

}  // namespace tp::sim
