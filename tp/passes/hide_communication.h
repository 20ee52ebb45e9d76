// HideCommunication: has collectives of a whole step run beside what does not need them.
//
// The ops stay what they are, and so do results, to the bit, and bytes; only their order changes.
// Each change is taken where a step is shorter with it by step_cost.h, and told with the reason:
//
//   work under collectives   gradients of weights are put off until a collective is under way that
//                            they can hide; sums of gradients begin as soon as theirs is there, and
//                            go behind what the backward pass waits for
//   strands                  several micro-batches are under way at one time: one computes while
//                            another communicates. This takes their memory, and is asked for
//
// Sources: Li et al., "PyTorch Distributed", VLDB 2020 (gradients are summed under the backward
// pass); Qi et al., "Zero Bubble Pipeline Parallelism", 2023 (gradients of weights apart from those
// of activations); Wang et al., "Domino", 2024 (halves of a batch).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/passes/op_order.h"
#include "tp/passes/step_cost.h"
#include "tp/program/program.h"

namespace tp {

struct HideOptions {
  MachineRates rates = {};
  // Micro-batches that may be under way at one time.
  int strands = 1;
  // Of values that a rank may hold at a time; 0: a sixteenth more than before, for each strand.
  int64_t most_bytes = 0;
};

// One change, made or not.
struct HideNote {
  std::string change;
  bool made = false;
  std::string why;
};

struct HideReport {
  OrderTimes before, after;  // by step_cost.h: not what a clock would say
  int64_t bytes_before = 0;  // held at the most
  int64_t bytes_after = 0;
  std::vector<HideNote> notes;
};

// Puts the ops of `program`, which must verify, in the best order that was found; it then still
// verifies. Nothing changes where nothing pays.
HideReport HideCommunication(Program& program, const Mesh& mesh, const HideOptions& options = {});

// "2 strands: 152.5 ms a step become 131.6 by estimate, for ..."; a line for each change.
std::string ToString(const HideNote& note);
std::string ToString(const HideReport& report);

}  // namespace tp
