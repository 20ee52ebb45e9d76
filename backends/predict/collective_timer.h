// CollectiveTimer: how long a collective of a group takes, alone.
//
// Where the machine's fit has measured the kind and the number of members, it is that; else it
// emerges from the messages of the algorithm (sim/timed). Each call is timed once for each way in
// which its group lies on the nodes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "backends/predict/cost_model.h"
#include "sim/collectives/algorithm.h"
#include "sim/topology/machine.h"
#include "tp/core/collective.h"

namespace tp::predict {

// What a message of the collective takes of what the devices of a node share.
struct NodeBytes {
  double bus = 0;  // between devices of the node
  double out = 0;  // to other nodes
  double in = 0;
};

struct CollectiveCost {
  double seconds = 0;
  // By formula of the slowest link on the way; by longest path where there is no formula, or where
  // some pairs of the group share a node and others do not.
  double closed_seconds = 0;
  CostSource source = CostSource::kPreset;
  double spread = 0;
  sim::Algorithm algorithm = sim::Algorithm::kAuto;
  double bytes_sent = 0;         // by all members
  std::vector<NodeBytes> nodes;  // in the order in which the members' nodes first appear
};

class CollectiveTimer {
 public:
  // Of every collective that has a form of `algorithm`; kAuto picks: direct exchange in a node, and
  // between nodes halving-doubling, or a ring where members are no power of two.
  // `closed`: what would be timed by its messages is taken by its closed form.
  CollectiveTimer(const CostModel& model, sim::Algorithm algorithm, bool closed = false)
      : model_(model), algorithm_(algorithm), closed_(closed) {}

  // `devices` in member order, two or more of the machine's.
  const CollectiveCost& Of(const CollectiveCall& call, const std::vector<int>& devices);

  int64_t messages() const { return messages_; }  // timed so far

 private:
  CollectiveCost Time(const CollectiveCall& call, const std::vector<int>& devices);

  const CostModel& model_;
  const sim::Algorithm algorithm_;
  const bool closed_;
  std::map<std::string, CollectiveCost> known_;
  int64_t messages_ = 0;
};

// How the group lies: the node of each member, numbered as they first appear, and the slow pairs in
// it by member. Groups that lie alike cost alike.
std::string LieOf(const sim::Machine& machine, const std::vector<int>& devices);

}  // namespace tp::predict
