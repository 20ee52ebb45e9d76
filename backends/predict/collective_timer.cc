#include "backends/predict/collective_timer.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "sim/collectives/record.h"
#include "sim/timed/closed_form.h"
#include "sim/timed/timed_collective.h"
#include "sim/topology/topology.h"
#include "tp/core/dtype.h"

namespace tp::predict {
namespace {

// The node of each member, numbered as they first appear.
std::vector<int> NodesOf(const sim::Machine& machine, const std::vector<int>& devices) {
  std::map<int, int> number;
  std::vector<int> nodes;
  for (int device : devices) {
    const int next = static_cast<int>(number.size());
    nodes.push_back(number.try_emplace(machine.NodeOf(device), next).first->second);
  }
  return nodes;
}

// The link between two of the machine's devices.
sim::LinkCost LinkBetween(const sim::Machine& machine, int a, int b) {
  const bool one_node = machine.NodeOf(a) == machine.NodeOf(b);
  return {(one_node ? machine.within.latency_us : machine.between.latency_us) * 1e6,
          sim::BandwidthOf(machine, a, b)};
}

// The slowest link between any two of the group; of members of many nodes, the network's.
sim::LinkCost SlowestLink(const sim::Machine& machine, const std::vector<int>& devices,
                          bool one_node) {
  sim::LinkCost link;
  link.latency_ps = (one_node ? machine.within.latency_us : machine.between.latency_us) * 1e6;
  link.bytes_per_second =
      one_node ? machine.within.bytes_per_second : machine.between.bytes_per_second;
  for (const auto& pair : machine.slow_pairs) {
    const auto has = [&](int device) {
      return std::find(devices.begin(), devices.end(), device) != devices.end();
    };
    if (has(pair.a) && has(pair.b)) {
      link.bytes_per_second =
          std::min(link.bytes_per_second, sim::BandwidthOf(machine, pair.a, pair.b));
    }
  }
  return link;
}

std::vector<NodeBytes> NodeBytesOf(const std::vector<std::vector<sim::Touch>>& touches,
                                   const std::vector<int>& nodes) {
  std::vector<NodeBytes> all(*std::max_element(nodes.begin(), nodes.end()) + 1);
  for (size_t from = 0; from < touches.size(); ++from) {
    for (const sim::Touch& touch : touches[from]) {
      if (touch.kind != sim::Touch::Kind::kSend) continue;
      const auto bytes = static_cast<double>(touch.bytes);
      if (nodes[from] == nodes[touch.peer]) {
        all[nodes[from]].bus += bytes;
      } else {
        all[nodes[from]].out += bytes;
        all[nodes[touch.peer]].in += bytes;
      }
    }
  }
  return all;
}

}  // namespace

std::string LieOf(const sim::Machine& machine, const std::vector<int>& devices) {
  std::string lie;
  for (int node : NodesOf(machine, devices)) lie += std::to_string(node) + ",";
  for (const auto& pair : machine.slow_pairs) {
    const auto a = std::find(devices.begin(), devices.end(), pair.a);
    const auto b = std::find(devices.begin(), devices.end(), pair.b);
    if (a == devices.end() || b == devices.end()) continue;
    lie += "s" + std::to_string(a - devices.begin()) + "-" + std::to_string(b - devices.begin()) +
           ":" + std::to_string(pair.part);
  }
  return lie;
}

const CollectiveCost& CollectiveTimer::Of(const CollectiveCall& call,
                                          const std::vector<int>& devices) {
  std::string key = ToString(call) + "|";
  for (int64_t count : call.counts) key += std::to_string(count) + ",";
  key += LieOf(model_.machine(), devices);
  auto found = known_.find(key);
  if (found == known_.end()) found = known_.emplace(key, Time(call, devices)).first;
  return found->second;
}

CollectiveCost CollectiveTimer::Time(const CollectiveCall& call, const std::vector<int>& devices) {
  const sim::Machine& machine = model_.machine();
  const auto members = static_cast<int>(devices.size());
  const std::vector<int> nodes = NodesOf(machine, devices);
  const bool one_node = *std::max_element(nodes.begin(), nodes.end()) == 0;
  CollectiveCost cost;
  sim::Algorithm wanted = algorithm_;
  if (wanted == sim::Algorithm::kAuto && !one_node) {
    wanted = std::has_single_bit(static_cast<unsigned>(members)) ? sim::Algorithm::kHalvingDoubling
                                                                 : sim::Algorithm::kRing;
  } else if (wanted == sim::Algorithm::kAuto) {
    wanted = sim::Algorithm::kDirect;
  }
  cost.algorithm = sim::Resolve(call, wanted, members);
  const sim::LinkCost link = SlowestLink(machine, devices, one_node);
  const std::optional<double> formula = sim::Formula(call, cost.algorithm, members, link);
  const double launch = machine.device.launch_us * 1e-6;
  // Where some pairs share a node and others do not, no formula knows which messages go where.
  const bool mixed = !one_node && *std::max_element(nodes.begin(), nodes.end()) + 1 < members;
  const bool by_path = mixed || !formula;
  std::vector<std::vector<sim::Touch>> touches;
  if (!closed_ || by_path) touches = sim::Record(call, cost.algorithm, members);
  cost.bytes_sent = static_cast<double>(MinimalElementsSent(call, members) * SizeOf(call.dtype));
  cost.nodes = NodeBytesOf(touches, nodes);
  const auto path = [&] {
    return sim::LongestPath(touches, [&](int from, int to) {
      return mixed ? LinkBetween(machine, devices[from], devices[to]) : link;
    });
  };
  cost.closed_seconds = (by_path ? path() : *formula) / 1e12;
  if (one_node && cost.algorithm == sim::Algorithm::kDirect &&
      machine.within.kind == sim::WithinSpec::Kind::kSwitch) {
    // Each sends to all others at once, through its one port.
    const double waits = call.kind == CollectiveKind::kAllReduce ? 2 : 1;
    const double port = cost.bytes_sent / members / machine.within.bytes_per_second;
    cost.closed_seconds =
        std::max(cost.closed_seconds, waits * machine.within.latency_us * 1e-6 + port);
  }
  const double bytes = static_cast<double>(TotalElements(call) * SizeOf(call.dtype));
  const std::optional<Cost> measured =
      one_node ? model_.OfCollective(call.kind, members, bytes) : std::nullopt;
  if (measured) {
    cost.seconds = cost.closed_seconds = measured->seconds;
    cost.source = measured->source;
    cost.spread = measured->spread;
    return cost;
  }
  cost.closed_seconds += launch;
  cost.seconds = cost.closed_seconds;
  if (closed_) return cost;
  const sim::TimedCollective timed = sim::TimeMessages(touches, machine, devices);
  messages_ += timed.messages;
  cost.seconds = static_cast<double>(timed.last()) / sim::kPicosPerSecond + launch;
  return cost;
}

}  // namespace tp::predict
