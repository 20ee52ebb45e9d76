// Times collectives by their own code: the messages that the algorithm sends, on a machine's links.
//
// A message moves from when it is posted, behind those that the same member posted to the same
// other one before; it takes its bytes over what the links on its way give it, and then their
// latency. A member goes on after a receive when the message is there; its end is when all that it
// sent was read. Messages that share a link share it fairly (sim/flow). Not modelled: what copies
// and additions cost beside the transfer, and that memory for messages ends.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/clock/virtual_clock.h"
#include "sim/collectives/record.h"
#include "sim/topology/machine.h"

namespace tp::sim {

struct TimedCollective {
  std::vector<Picos> ends;  // by member
  int64_t messages = 0;
  int64_t bytes = 0;  // of all messages

  Picos last() const;
};

// What each member of `devices` (of the machine, in member order) does, begun by each at its time
// of `begins`; an empty `begins` is zero for all. CHECKs that nobody waits for ever.
TimedCollective TimeMessages(const std::vector<std::vector<Touch>>& touches, const Machine& machine,
                             std::span<const int> devices, std::span<const Picos> begins = {});

}  // namespace tp::sim
