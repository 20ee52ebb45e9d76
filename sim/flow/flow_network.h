// FlowNetwork: things that take time share what they need, fairly.
//
// A resource gives so many units a second: a link's bytes, a memory's bytes, a device's
// multiprocessors. A flow has an amount to do, and each unit of it takes `per_unit` of every
// resource that it uses: a message takes a byte of each link on its way for each of its bytes, a
// kernel of one second takes so many bytes of memory and so many multiprocessors a second. Rates
// are max-min fair (Bertsekas & Gallager, "Data Networks", 1992, section 6.5.2): no rate can grow
// but at the cost of one that is not larger. What is fair is rate over `share`; a flow never goes
// faster than its own `limit`.
//
// Rates are worked out once a timestamp, and only for flows that are joined to what changed by
// shared resources. Picoseconds are whole and nothing is fused, so that a run is the same bits in
// any build. One thread. Programmers' mistakes are CHECKs.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "sim/clock/event_queue.h"
#include "sim/clock/virtual_clock.h"

namespace tp::sim {

using ResourceId = int;
using FlowId = int;  // of a flow that goes on; given to another one when it has ended

struct FlowUse {
  ResourceId resource = 0;
  double per_unit = 1;  // above 0
};

struct Flow {
  double amount = 0;                                       // of units; 0 ends at once
  double limit = std::numeric_limits<double>::infinity();  // units a second
  double share = 1;                                        // above 0
  int rank = 0;        // flows that end at one time do so by rank, then number
  int64_t number = 0;  // the owner's own
};

class FlowNetwork {
 public:
  // `per_second` above 0.
  ResourceId AddResource(double per_second);
  int resources() const { return static_cast<int>(resources_.size()); }

  // Begins a flow at `now`, which is never less than in the call before. It has a limit or uses a
  // resource, each at most once.
  FlowId Start(Picos now, const Flow& flow, std::span<const FlowUse> uses);

  // When the next flow ends, kNever where none goes on.
  Picos NextEnd();

  // Ends the next of the flows that do so at `now`, which is NextEnd() or was before the first such
  // call; nothing when all have ended. Its id is free from then on. Rates are as they were until
  // NextEnd is asked again: so they are worked out once a timestamp.
  struct Ended {
    FlowId id = -1;
    int rank = 0;
    int64_t number = 0;
  };
  std::optional<Ended> PopEnd(Picos now);

  // Units a second, of a flow that goes on.
  double RateOf(FlowId id);

 private:
  struct Placed {
    ResourceId resource = 0;
    double per_unit = 1;
    int place = 0;  // in the resource's list
  };
  struct Entry {
    FlowId flow = -1;
    int use = 0;
  };
  struct Active {
    Flow flow;
    std::vector<Placed> uses;
    double left = 0;  // of the amount, at `since`
    double rate = 0;  // from then on
    Picos since = 0;
    int64_t version = 0;  // of its end in the queue
    bool active = false;
    bool seen = false;   // by the search
    bool fixed = false;  // by the solver
  };
  struct Resource {
    double per_second = 0;
    std::vector<Entry> flows;
    bool touched = false;  // since rates were worked out
    bool seen = false;
    double left = 0;    // that nobody has yet
    double weight = 0;  // of what has no rate yet
    int open = 0;       // how many have none
  };

  void Touch(ResourceId id);
  void Remove(FlowId id);
  void Solve();
  void FindJoined(ResourceId from);
  void ShareOut();
  void Fix(FlowId id, double rate);
  void SetRate(FlowId id, double rate);
  void DropStale();

  std::vector<Active> flows_;
  std::vector<FlowId> free_;
  std::vector<Resource> resources_;
  std::vector<ResourceId> touched_;
  std::vector<FlowId> lone_;  // that use no resource and have no rate yet
  EventQueue ends_;
  Picos now_ = 0;

  // The solver's, kept to allocate nothing.
  struct Level {
    double level = 0;
    int id = 0;  // of a resource, or a flow
  };
  std::vector<ResourceId> joined_resources_;
  std::vector<FlowId> joined_flows_;
  std::vector<Level> levels_;  // a heap
  std::vector<Level> limits_;
  std::vector<double> new_rates_;  // by flow id
};

}  // namespace tp::sim
