// ScheduleDraft: one rank's schedule while it is lowered: which memory holds each value, and the
// ops so far.
//
// What is asked for by value is this rank's part of it. An op is added once the values that it
// reads have their memory. CHECKs what only a program that Verify refuses could do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tp/core/collective.h"
#include "tp/core/mesh.h"
#include "tp/program/letters.h"
#include "tp/program/program.h"
#include "tp/schedule/layout.h"
#include "tp/schedule/local_part.h"
#include "tp/schedule/schedule.h"

namespace tp {

class ScheduleDraft {
 public:
  // `layout` is what ChooseLayout gives, `letters` those of each op that has any. Program, mesh and
  // letters outlive the draft.
  ScheduleDraft(const Program& program, const Mesh& mesh, Layout layout,
                const std::vector<Letters>& letters, int rank);

  const Program& program() const { return program_; }
  const Mesh& mesh() const { return mesh_; }
  int rank() const { return rank_; }
  int Self(Axis axis) const { return mesh_.Coordinate(rank_, axis); }
  // The stream of what is communicated along `axis`, one of the mesh's.
  Stream CommunicationOn(Axis axis) const { return CommunicationStream(mesh_.PlaceOf(axis)); }
  // Which part of a value each member of this rank's group along `axis`, which cuts it, has.
  GroupCut CutOf(ValueId id, Axis axis) const {
    return GroupCut(program_.value(id), axis, mesh_, rank_);
  }

  // Memory of its own for anything.
  View Allocate(const std::string& name, DType dtype, const Shape& sizes, const Order& order);
  // In one row.
  View Allocate(const std::string& name, DType dtype, int64_t elements) {
    return Allocate(name, dtype, {elements}, Order::Own(1));
  }
  // Memory for a value, in its order; the value does not have it yet.
  View AllocateValue(ValueId id);
  // The memory of a value that an op is about to write: of its own, or its block of the whole that
  // it is gathered to.
  View Define(ValueId id);
  // The memory of a value's partial sums, in the accumulator's type. What is returned has the
  // value's dimensions; the value's view is a matrix with a row a node.
  std::vector<View> DefineNodes(ValueId id, size_t count);

  // Those of one of the program's ops that has any, without "*".
  const Letters& LettersOf(const Op& op) const {
    return letters_[program_.DefinitionOf(op.outputs[0])];
  }

  bool HasView(ValueId id) const { return views_[id].has_value(); }
  const View& ViewOf(ValueId id) const;
  void SetView(ValueId id, const View& view) { views_[id] = view; }
  DType TypeOf(BufferId buffer) const { return schedule_.buffers[buffer].dtype; }
  // How a value's own memory is to run. May change until it has it.
  Order& OrderOf(ValueId id) { return layout_.orders[id]; }
  // The value that `id` is gathered to, with its block in that memory; -1 where there is none.
  ValueId WholeOf(ValueId id) const { return layout_.whole_of[id]; }

  // References hold until the next op.
  ScheduledOp& Emit(Action action, const Op& op, std::vector<View> reads, std::vector<View> writes);
  ScheduledOp& EmitCollective(const Op& op, Axis axis, CollectiveKind kind, const View& send,
                              const View& receive, std::vector<int64_t> counts);
  // `view`, or a copy of it that is packed in `order`.
  View InOrder(const Op& op, const View& view, const Order& order, const std::string& name);

  // Says where a value lies, for those who read and write it from outside.
  void Bind(ValueId id);

  Schedule Take() { return std::move(schedule_); }

 private:
  const Program& program_;
  const Mesh& mesh_;
  const std::vector<Letters>& letters_;  // by op
  const int rank_;
  Schedule schedule_;
  Layout layout_;
  std::vector<std::optional<View>> views_;  // by value
};

}  // namespace tp
