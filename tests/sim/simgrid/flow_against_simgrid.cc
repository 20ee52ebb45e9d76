// Holds the flow solver against SimGrid's, an independent one, on 1,000 random flow sets: every
// flow ends at the same nanosecond.
//
//   apt-get install --no-install-recommends libsimgrid-dev
//   ./bazelw run //tests/sim/simgrid:flow_against_simgrid
//
// SimGrid 3.32 (Casanova, Giersch, Legrand, Quinson, Suter, 2014) by its model CM02 with what it
// models beside fair sharing turned off. A process has one simulation, so each set is run in one of
// its own.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <simgrid/s4u.hpp>
#include <string>
#include <vector>

#include "tests/sim/random_flows.h"

namespace tp::sim {
namespace {

namespace s4u = simgrid::s4u;

// When each flow ends, in seconds.
std::vector<double> RunSimGrid(const FlowSet& set) {
  int argc = 2;
  char name[] = "flows", quiet[] = "--log=root.threshold:error";
  char* argv[] = {name, quiet, nullptr};
  s4u::Engine engine(&argc, argv);
  for (const char* setting :
       {"network/model:CM02", "network/TCP-gamma:0", "network/crosstraffic:0",
        "network/bandwidth-factor:1", "network/latency-factor:1", "network/weight-S:0",
        "surf/precision:1e-12", "maxmin/precision:1e-9"}) {
    s4u::Engine::set_config(setting);
  }
  s4u::NetZone* zone = s4u::create_full_zone("all");
  std::vector<s4u::Link*> links;
  for (size_t r = 0; r < set.resources.size(); ++r) {
    links.push_back(
        zone->create_link("link" + std::to_string(r), set.resources[r])->set_latency(0)->seal());
  }
  std::vector<double> ends(set.flows.size());
  std::vector<std::pair<s4u::Host*, s4u::Host*>> hosts;
  for (size_t i = 0; i < set.flows.size(); ++i) {
    s4u::Host* from = zone->create_host("from" + std::to_string(i), 1e9)->seal();
    s4u::Host* to = zone->create_host("to" + std::to_string(i), 1e9)->seal();
    std::vector<s4u::LinkInRoute> route;
    for (const FlowUse& use : set.flows[i].uses) route.emplace_back(links[use.resource]);
    zone->add_route(from->get_netpoint(), to->get_netpoint(), nullptr, nullptr, route, false);
    hosts.emplace_back(from, to);
  }
  zone->seal();
  for (size_t i = 0; i < set.flows.size(); ++i) {
    s4u::Actor::create("flow", hosts[i].first, [&, i] {
      s4u::this_actor::sleep_until(static_cast<double>(set.flows[i].begin) / kPicosPerSecond);
      s4u::Comm::sendto(hosts[i].first, hosts[i].second,
                        static_cast<uint64_t>(set.flows[i].flow.amount));
      ends[i] = s4u::Engine::get_clock();
    });
  }
  engine.run();
  return ends;
}

std::vector<double> RunApart(const FlowSet& set) {
  int ends[2];
  if (pipe(ends) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    const std::vector<double> result = RunSimGrid(set);
    const auto bytes = static_cast<ssize_t>(result.size() * sizeof(double));
    _exit(write(ends[1], result.data(), bytes) == bytes ? 0 : 1);
  }
  close(ends[1]);
  std::vector<double> result(set.flows.size());
  const auto bytes = static_cast<ssize_t>(result.size() * sizeof(double));
  const bool whole = read(ends[0], result.data(), bytes) == bytes;
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return whole && status == 0 ? result : std::vector<double>();
}

int Main() {
  constexpr int kSets = 1000;
  constexpr double kNanosecond = 1e-9;
  std::mt19937_64 random(11);
  double worst = 0;
  int flows = 0, differ = 0;
  for (int i = 0; i < kSets; ++i) {
    const FlowSet set = MakeFlowSet(random, /*plain=*/true);
    const std::vector<Picos> ours = RunFlowSet(set);
    const std::vector<double> theirs = RunApart(set);
    if (theirs.empty()) {
      std::fprintf(stderr, "set %d: SimGrid did not run\n", i);
      return 1;
    }
    for (size_t f = 0; f < ours.size(); ++f) {
      const double off = std::abs(static_cast<double>(ours[f]) / kPicosPerSecond - theirs[f]);
      worst = std::max(worst, off);
      differ += off > kNanosecond;
      ++flows;
    }
  }
  std::printf("%d sets, %d flows: %d end more than 1 ns apart; the most is %.3g ns\n", kSets, flows,
              differ, worst / kNanosecond);
  return differ == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tp::sim

int main() { return tp::sim::Main(); }
