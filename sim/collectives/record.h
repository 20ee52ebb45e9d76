// What the members of a collective do, written down instead of done.
//
// The very code of the algorithms runs, once for each member, on an endpoint that touches no
// memory: what a member sends, receives and copies, and in which order, does not depend on the
// data. So a collective can be timed on a machine that is not there, at sizes that fit nowhere.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/collectives/algorithm.h"
#include "tp/core/collective.h"

namespace tp::sim {

// One thing that a member does, to `bytes` bytes.
struct Touch {
  enum class Kind : uint8_t {
    kSend,           // posts a message to `peer`, and goes on
    kReceive,        // waits for the next message of `peer` and copies it
    kReceiveReduce,  // likewise, and adds it to what is there
    kCopy,           // within its own memory
    kReduce,         // likewise
  };
  Kind kind = Kind::kSend;
  int peer = -1;  // a member; -1: itself
  int64_t bytes = 0;

  bool operator==(const Touch&) const = default;
};

// By member, what each does in order, in place where the collective has a form in place; its end is
// when all that it sent was read. `call` is one that Communicator::Prepare takes, and `algorithm`
// is resolved as its is. Nothing where there is one member.
std::vector<std::vector<Touch>> Record(const CollectiveCall& call, Algorithm algorithm,
                                       int members);

}  // namespace tp::sim
