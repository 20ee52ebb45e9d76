// OpOrder: the order of a Program's ops as streams run it, and a better one.
//
// Ops that compute run one after the other, and beside them on each axis of the mesh those that
// communicate, in the order of the list; each begins when what it needs has ended. So whether a
// collective is hidden is a matter of order alone: what has been put behind it on the list and does
// not need it.
#pragma once

#include <vector>

#include "tp/passes/step_cost.h"
#include "tp/program/program.h"

namespace tp {

// By op: those that may run only after it: its readers, and updates of what it reads or of what may
// share that memory.
std::vector<std::vector<int>> OpsBehind(const Program& program);

struct OrderTimes {
  double seconds = 0;        // to the end of the last op
  double communication = 0;  // seconds that collectives take, of all streams
  double hidden = 0;         // of these, during which the rank computes

  double share_hidden() const { return communication > 0 ? hidden / communication : 1; }
};

// What the ops take in this order, `order` being indices into the program's ops.
OrderTimes TimesOf(const Program& program, const std::vector<OpCost>& costs,
                   const std::vector<int>& order);

struct ListOptions {
  // Work that nothing waits for is kept back for collectives to come; of more than this many
  // seconds of it the oldest runs at once.
  double reserve_seconds = 0;
  // How many micro-batches are under way at one time: one runs while another communicates.
  int strands = 1;
  // While all else waits, ops up to so many places ahead may run.
  int ahead = 64;
};

// An order by list scheduling (Graham, "Bounds on Multiprocessing Timing Anomalies", 1969), that
// keeps what waits for what and begins each collective as soon as it can. Each strand goes on in
// its own order as long as it can; then the next does; then comes what was kept back: gradients of
// weights, and all else that no later collective needs but for the sums of gradients. So the order
// changes by what is put off, and nothing is begun much earlier than it was, which costs memory.
// About linear in the number of ops.
std::vector<int> ListOrder(const Program& program, const std::vector<OpCost>& costs,
                           const ListOptions& options);

}  // namespace tp
