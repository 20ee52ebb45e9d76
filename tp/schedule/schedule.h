// Schedule: one rank's training step, ready to run: buffers, ops on streams, and what waits for
// what.
//
// Lowering (lower.h) makes it from a Program once; an Executor (tp/runtime/executor.h) allocates
// the buffers' arena once and replays the ops every step. A Schedule holds local shapes only. Each
// op names the memory it reads and writes, so that hazards.h can prove that nothing races.
//
// Order: the ops of one stream run one after the other, in list order. Between streams only `waits`
// order them. A step begins after every op of the step before has ended.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/collective.h"
#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/core/shape.h"
#include "tp/core/sum_order.h"
#include "tp/program/action.h"
#include "tp/program/letters.h"
#include "tp/program/program.h"
#include "tp/schedule/view.h"

namespace tp {

// One computes; each axis of the mesh has one on which its ranks communicate. kCommunication is
// that of the mesh's first axis, and those of the others follow.
enum class Stream : int { kCompute, kCommunication };
inline constexpr int kMostStreams = 1 + Mesh::kMostAxes;

// Of the mesh's axis number `place`.
constexpr Stream CommunicationStream(int place) { return static_cast<Stream>(1 + place); }
// All that a schedule may have.
constexpr std::array<Stream, kMostStreams> AllStreams() {
  std::array<Stream, kMostStreams> streams = {};
  for (int i = 0; i < kMostStreams; ++i) streams[i] = static_cast<Stream>(i);
  return streams;
}
// "compute"; "communication", "communication 2", ... of the mesh's first axis, second, ...
std::string Name(Stream stream);

// `elements` of `dtype`, contiguous, in the arena of its rank, which the executor owns.
struct Buffer {
  std::string name;
  DType dtype = DType::kFloat32;
  int64_t elements = 0;
  // Where it begins in the arena, in bytes; buffers may share bytes (memory.h). -1: behind all that
  // have a place.
  int64_t offset = -1;

  int64_t bytes() const { return elements * SizeOf(dtype); }
  bool operator==(const Buffer&) const = default;
};

// Which part of the tree of tp/core/sum_order.h an op works out, or finishes.
struct BlockedSum {
  int64_t terms = 0;              // of the whole sum: what the tree's blocks cut
  std::vector<BlockRange> nodes;  // in order. kBlocked*: those of this rank; kSumBlocks: of all
  int64_t each = 1;               // what one term is, in elements one after the other

  bool operator==(const BlockedSum&) const = default;
};

struct ScheduledOp {
  Action action = Action::kCopy;
  std::string name;    // of the value that it computes
  ValueId value = -1;  // that value, of the Program; what ops have in common across ranks
  Phase phase = Phase::kForward;
  Stream stream = Stream::kCompute;
  std::vector<View> reads;
  std::vector<View> writes;
  std::vector<int> waits;  // ops before this one, on other streams, that must have ended
  Attributes attributes = {};
  // Whether a row (an index of the first dimension) of its last output needs the same row of its
  // operands and no other; a scalar before that is a sum over the rows.
  bool by_rows = false;
  // kGemm only: whether its letters are those of matrices. Then all ranks have it as one matrix
  // product, whatever the sizes of their shards.
  bool of_matrices = false;
  // Which part of each letter of the op this rank has, by the letters of its operands without "*".
  // Of the op's own launch; the rows' letter comes first where it goes by rows.
  std::vector<LetterPart> letters = {};
  // The part of `letter`; CHECKs that there is one.
  const LetterPart& PartOf(char letter) const;
  BlockedSum sum;  // kBlockedGemm, kBlockedSumRows, kSumBlocks only

  // kCollective only. `send` and `receive` are contiguous. all_reduce: both of the call's length,
  // the same memory if in place. all_gather: `send` is this rank's block, `receive` the whole; in
  // place `send` lies in `receive` at its own block. reduce_scatter: the other way round. `reads`
  // and `writes` say the memory that is touched: an all_gather in place writes the others' blocks.
  CollectiveCall call;
  View send;
  View receive;
  Axis axis = Axis::kTp;
  std::vector<int> group;  // world ranks in member order

  bool operator==(const ScheduledOp&) const = default;
};

// Where a Program's value lies on this rank, for reading and writing whole tensors from outside.
// The local part is indices [origin[d], origin[d] + view.dims[d].size) of each dimension d.
struct Binding {
  std::string name;
  ValueId value = -1;
  Shape shape;  // global
  DType dtype = DType::kFloat32;
  Placements placements;
  View view;
  std::array<int64_t, kMostDims> origin = {};

  // Row-major, of the element at `index` of the part.
  int64_t GlobalIndex(const Index& index) const {
    int64_t global = 0;
    for (size_t d = 0; d < shape.size(); ++d) global = global * shape[d] + origin[d] + index[d];
    return global;
  }
  bool operator==(const Binding&) const = default;
};

struct Schedule {
  int rank = 0;
  SumOrder sum_order = SumOrder::kFast;  // of losses too; what else is summed says its own order
  std::vector<Buffer> buffers;
  std::vector<ScheduledOp> ops;
  std::vector<Binding> bindings;  // inputs, parameters, results

  // The binding called `name`; CHECKs that there is one.
  const Binding& BindingOf(std::string_view name) const;

  bool operator==(const Schedule&) const = default;
};

// One op a line, with stream, views and waits; then the buffers.
std::string ToString(const Schedule& schedule);

}  // namespace tp
