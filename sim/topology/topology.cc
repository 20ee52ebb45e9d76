#include "sim/topology/topology.h"

#include <glog/logging.h>

#include <cmath>

namespace tp::sim {
namespace {

Picos LatencyOf(double microseconds) { return std::llround(microseconds * 1e6); }

const Machine::SlowPair* SlowPairOf(const Machine& machine, int from, int to) {
  for (const Machine::SlowPair& pair : machine.slow_pairs) {
    if ((pair.a == from && pair.b == to) || (pair.a == to && pair.b == from)) return &pair;
  }
  return nullptr;
}

}  // namespace

double BandwidthOf(const Machine& machine, int from, int to) {
  const bool within = machine.NodeOf(from) == machine.NodeOf(to);
  const double whole = within ? machine.within.bytes_per_second : machine.between.bytes_per_second;
  const Machine::SlowPair* slow = SlowPairOf(machine, from, to);
  return slow == nullptr ? whole : whole * slow->part;
}

ResourceId Topology::ResourceOf(Port port, int a, int b, double bytes_per_second) {
  const uint64_t key =
      static_cast<uint64_t>(port) << 48 | static_cast<uint64_t>(a) << 24 | static_cast<uint64_t>(b);
  const auto [found, is_new] = resources_.try_emplace(key, -1);
  if (is_new) found->second = network_.AddResource(bytes_per_second);
  return found->second;
}

Route Topology::RouteOf(int from, int to) {
  CHECK(from != to && from >= 0 && to >= 0 && from < machine_.devices() && to < machine_.devices())
      << "no way from device " << from << " to " << to;
  Route route;
  const auto take = [&](Port port, int a, int b, double bytes_per_second) {
    route.uses[route.count++] = {ResourceOf(port, a, b, bytes_per_second), 1};
  };
  const int node = machine_.NodeOf(from), other = machine_.NodeOf(to);
  if (node == other) {
    const WithinSpec& within = machine_.within;
    route.latency = LatencyOf(within.latency_us);
    switch (within.kind) {
      case WithinSpec::Kind::kSwitch:
        take(Port::kOut, from, 0, within.bytes_per_second);
        take(Port::kIn, to, 0, within.bytes_per_second);
        break;
      case WithinSpec::Kind::kMesh:
        take(Port::kLink, from, to, within.bytes_per_second);
        break;
      case WithinSpec::Kind::kBus:
        take(Port::kBus, node, 0, within.bytes_per_second);
        break;
    }
  } else {
    const BetweenSpec& between = machine_.between;
    route.latency = LatencyOf(between.latency_us);
    const bool device = between.per == BetweenSpec::Per::kDevice;
    take(Port::kNetworkOut, device ? from : node, 0, between.bytes_per_second);
    take(Port::kNetworkIn, device ? to : other, 0, between.bytes_per_second);
  }
  if (SlowPairOf(machine_, from, to) != nullptr) {
    take(Port::kSlowPair, from, to, BandwidthOf(machine_, from, to));
  }
  return route;
}

}  // namespace tp::sim
