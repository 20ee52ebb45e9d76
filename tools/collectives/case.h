// Case: some collectives of one kind and size, one after the other, as one step of the engine.
//
// The step is lowered from a Program of redistributes alone, each from an input of its own to a
// result, over axis tp:
//
//   all_reduce      in [n] Partial -> Replicate      out of place: an input is left as it was
//   all_gather      in [n] Shard(0) -> Replicate     in place: the shard lies in the whole
//   reduce_scatter  in [n] Partial -> Shard(0)       out of place
//   all_to_all      in [P, n] Shard(0) -> Shard(1)   out of place, then a copy for each block
//   broadcast       the all_reduce's Schedule with other calls: no redistribute is a broadcast
//
// What is fed are small integers, other ones for each collective, element and share, of which every
// sum is exact in every element type and order. So each element of each result has one right value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "tp/core/collective.h"
#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/schedule/schedule.h"

namespace tp::collective_bench {

struct Case {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  DType dtype = DType::kFloat32;
  int members = 2;       // of a tp group, P
  int64_t elements = 0;  // n: of the whole array; for all_to_all of what one member sends
  int per_step = 1;

  // nccl-tests' columns: size is `elements` in bytes, and count their number, or for all_gather,
  // reduce_scatter and all_to_all that of one block.
  int64_t bytes() const { return elements * SizeOf(dtype); }
  int64_t count() const;
};

// The largest case of at most `bytes`: all but all_reduce and broadcast have blocks of one length.
Case MakeCase(CollectiveKind kind, DType dtype, int members, int64_t bytes, int per_step);

// The schedule of `rank`, with inputs in0, in1, ... and results out0, out1, ...
StatusOr<Schedule> MakeSchedule(const Case& c, const Mesh& mesh, int rank);

// What all ranks together must send in one collective of the case, in bytes.
StatusOr<int64_t> ContractBytes(const Case& c, const Mesh& mesh);

// Element `index` of input `nth` as `member` of the tp group has it, and of result `nth`, which is
// the same for all.
double Fed(const Case& c, int nth, int member, int64_t index);
double Expected(const Case& c, int nth, int64_t index);

// Of this rank's part of a tensor, in `buffer`'s bytes: the elements that are not what `expected`
// gives for their global index.
int64_t CountWrong(const Binding& binding, std::span<const std::byte> buffer,
                   const std::function<double(int64_t)>& expected);

}  // namespace tp::collective_bench
