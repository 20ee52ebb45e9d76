#include "tests/sim/random_flows.h"

#include <algorithm>

namespace tp::sim {

FlowSet MakeFlowSet(std::mt19937_64& random, bool plain) {
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  FlowSet set;
  const int resources = 1 + below(12);
  for (int i = 0; i < resources; ++i) set.resources.push_back(1e9 * (1 + below(100)));
  const int flows = 1 + below(40);
  for (int i = 0; i < flows; ++i) {
    RandomFlow flow;
    flow.begin = below(4) == 0 ? 0 : Picos{1'000'000} * below(2000);
    flow.flow.amount = 1e3 * (1 + below(100'000));
    if (!plain) {
      if (below(3) == 0) flow.flow.limit = 1e9 * (1 + below(30));
      flow.flow.share = 1 + below(4);
      if (below(20) == 0) flow.flow.amount = 0;
    }
    std::vector<int> route(resources);
    for (int r = 0; r < resources; ++r) route[r] = r;
    std::shuffle(route.begin(), route.end(), random);
    route.resize(1 + below(std::min(resources, 4)));
    for (int r : route) flow.uses.push_back({r, plain ? 1.0 : 1.0 + below(3)});
    set.flows.push_back(flow);
  }
  std::stable_sort(set.flows.begin(), set.flows.end(),
                   [](const RandomFlow& a, const RandomFlow& b) { return a.begin < b.begin; });
  for (int i = 0; i < flows; ++i) set.flows[i].flow.number = i;
  return set;
}

std::vector<Picos> RunFlowSet(const FlowSet& set, void (*look)(FlowNetwork&, const FlowSet&,
                                                               const std::vector<FlowId>&)) {
  FlowNetwork network;
  for (double per_second : set.resources) network.AddResource(per_second);
  std::vector<FlowId> ids(set.flows.size(), -1);
  std::vector<Picos> ends(set.flows.size(), kNever);
  size_t next = 0;
  while (true) {
    const Picos begin = next < set.flows.size() ? set.flows[next].begin : kNever;
    const Picos end = network.NextEnd();
    if (look != nullptr) look(network, set, ids);
    const Picos now = std::min(begin, end);
    if (now == kNever) return ends;
    while (const auto ended = network.PopEnd(now)) {
      ids[ended->number] = -1;
      ends[ended->number] = now;
    }
    for (; next < set.flows.size() && set.flows[next].begin == now; ++next) {
      ids[next] = network.Start(now, set.flows[next].flow, set.flows[next].uses);
    }
  }
}

}  // namespace tp::sim
