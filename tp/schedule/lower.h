// Lowering: from a Program over global tensors to one rank's Schedule.
//
// Shards get their local shapes, values their buffers, redistributes their collectives:
//
//   Partial -> Replicate   all_reduce, in place where nothing else reads the partial value
//   Partial -> Shard(d)    reduce_scatter, likewise
//   Shard(d) -> Replicate  all_gather; where it can, the shard is computed in its place already
//   Shard(a) -> Shard(b)   all_to_all, then one copy a block
//   Replicate -> Shard(d)  a view
//   Replicate -> Partial   the same memory on the axis's first rank, zeros on the others; a
//                          product that would add zeros adds nothing
//   anything, alone        a group of one rank has nothing to redistribute: the same memory
//
// Where the program's sum order is invariant, products and sums of rows are blocked, and their
//
//   Partial -> Replicate   all_to_all of the nodes that the ranks hold, in the accumulator's type;
//                          sum_blocks on what each rank got; all_gather of the sums
//
// A product's letters are grouped into matrix products (contraction.h). Products, losses and
// updates run on the compute stream, collectives (and sum_blocks, which is a part of one) on the
// communication stream, and the waits between them are those that conflicting memory needs.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/schedule/memory.h"
#include "tp/schedule/schedule.h"

namespace tp {

struct LowerOptions {
  // Sums of products over ranks are cut into parts of at least so many bytes that overlap with the
  // products around them; products behind a gather of so many and before a scatter of so many are
  // cut, too (see overlap.h); 0: they are not.
  int64_t sum_part_bytes = 0;
  Keep keep = Keep::kNeeded;
};

// The schedule of `rank`; every rank of a mesh lowers the same Program and so calls the same
// collectives in the same order. The program must verify. Errors: INVALID_ARGUMENT from
// Verify; for letters that no matrix product has, naming the op; for an invariant sum order over
// ranks whose number does not divide kSumBlocks, or of products that are not one matrix product
// or are cut along another letter than the first that is summed over.
StatusOr<Schedule> Lower(const Program& program, const Mesh& mesh, int rank,
                         const LowerOptions& options = {});

// Those of several ranks, in their order, or of all of the mesh. What they have in common is worked
// out once.
StatusOr<std::vector<Schedule>> LowerRanks(const Program& program, const Mesh& mesh,
                                           const std::vector<int>& ranks,
                                           const LowerOptions& options = {});
StatusOr<std::vector<Schedule>> LowerAll(const Program& program, const Mesh& mesh,
                                         const LowerOptions& options = {});

}  // namespace tp
