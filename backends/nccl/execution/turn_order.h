// The order of turns: what a step may leave out, and what it must wait for, where members send
// without meeting.
//
// A turn is an all_to_all in which each member sends one block to one other, by a copy engine; a
// word behind the block tells that it is there. Nothing of it waits on the GPU of the sender. So
// two things that other collectives see to are left to the schedule:
//
//   that a block has come    whoever needs it awaits the word first (AwaitedTurns)
//   that there is room       what lay where the block goes is not needed any more. Members meet
//                            before the turn, unless an earlier collective vouches for it: one that
//                            the receiver began only when the room was free, and of which the
//                            sender knows that the receiver had begun it (TurnsThatMeet)
//
// Knows no GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/schedule/schedule.h"

namespace tp::nccl {

// How an op of a schedule takes part.
struct Passing {
  enum Kind {
    kAlone,     // it is no collective over peer memory, or sends nothing
    kTogether,  // none of its members passes it before all have come to it
    kTurn,
  };
  Kind kind = kAlone;
  int turn = 0;  // kTurn: by how many places the receiver is behind the sender in the group
};

// By op, and at last for the end of the step: the turns, as ops, whose blocks must have come before
// it begins. The end is the compute stream's.
std::vector<std::vector<int>> AwaitedTurns(const Schedule& schedule,
                                           const std::vector<Passing>& passing);

// Of a turn: which of the collectives before it vouch for it on this rank, as receiver and as
// sender. Bit d - 1 is the collective d before it in the schedule.
struct Vouchers {
  uint32_t always = 0;
  uint32_t if_it_meets = 0;  // a turn for which members meet first
};

// By collective of the schedule, in order; empty for those that are no turns.
std::vector<Vouchers> VouchersOf(const Schedule& schedule, const std::vector<Passing>& passing,
                                 const std::vector<std::vector<int>>& awaited);

// By op: whether members meet before it. `agreed`: by collective, those on which all ranks agree.
std::vector<bool> TurnsThatMeet(const Schedule& schedule, const std::vector<Passing>& passing,
                                const std::vector<Vouchers>& agreed);

}  // namespace tp::nccl
