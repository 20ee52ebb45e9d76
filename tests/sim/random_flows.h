// Random flow sets, for properties and for comparison with other solvers.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "sim/flow/flow_network.h"

namespace tp::sim {

struct RandomFlow {
  Picos begin = 0;
  Flow flow;
  std::vector<FlowUse> uses;
};

struct FlowSet {
  std::vector<double> resources;  // units a second
  std::vector<RandomFlow> flows;  // by begin
};

// `plain`: a unit takes one of each resource, nobody has a limit, all share alike.
FlowSet MakeFlowSet(std::mt19937_64& random, bool plain);

// The time at which each flow ends. `look`, where there is one, is called whenever rates are known,
// with the ids of the flows that go on, -1 for the others.
std::vector<Picos> RunFlowSet(const FlowSet& set,
                              void (*look)(FlowNetwork&, const FlowSet&,
                                           const std::vector<FlowId>&) = nullptr);

}  // namespace tp::sim
