// Topology: the links of a Machine as resources of a FlowNetwork, and the way between two devices.
//
// A message of one node takes its sender's and its receiver's port (kSwitch), the pair's link
// (kMesh) or the node's bus (kBus); one between nodes takes the sender's and the receiver's port on
// the network, or their nodes'. A slow pair has one more link, each way. Resources are added when
// first asked for.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>

#include "sim/clock/virtual_clock.h"
#include "sim/flow/flow_network.h"
#include "sim/topology/machine.h"

namespace tp::sim {

struct Route {
  static constexpr int kMostUses = 3;
  FlowUse uses[kMostUses];
  int count = 0;
  Picos latency = 0;

  std::span<const FlowUse> Uses() const { return {uses, static_cast<size_t>(count)}; }
};

class Topology {
 public:
  // Both outlive it.
  Topology(const Machine& machine, FlowNetwork& network) : machine_(machine), network_(network) {}

  // From device `from` to another one, both of the machine.
  Route RouteOf(int from, int to);

  const Machine& machine() const { return machine_; }

 private:
  enum class Port : uint8_t { kOut, kIn, kLink, kBus, kNetworkOut, kNetworkIn, kSlowPair };
  ResourceId ResourceOf(Port port, int a, int b, double bytes_per_second);

  const Machine& machine_;
  FlowNetwork& network_;
  std::unordered_map<uint64_t, ResourceId> resources_;
};

// Bytes a second of a message from `from` to `to` that is alone.
double BandwidthOf(const Machine& machine, int from, int to);

}  // namespace tp::sim
