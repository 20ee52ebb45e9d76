#include "sim/topology/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "sim/topology/topology.h"

namespace tp::sim {
namespace {

using testing::HasSubstr;

constexpr char kSmall[] = R"({
  "name": "small", "devices_per_node": 2, "nodes": 2, "sum_part_bytes": 4096,
  "device": {"name": "d", "memory_bytes": 1e9, "memory_bytes_per_second": 1e11,
             "flops": {"fp32": 1e12}},
  "within": {"kind": "switch", "bytes_per_second": 1e10, "latency_us": 1},
  "between": {"per": "node", "bytes_per_second": 1e9, "latency_us": 7.5}})";

// The text with the first `from` replaced.
std::string With(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST(MachineTest, AFileIsReadAndWrittenBack) {
  const Machine machine = ParseMachine(kSmall, "small.json").value();
  EXPECT_EQ(machine.devices(), 4);
  EXPECT_EQ(machine.between.per, BetweenSpec::Per::kNode);
  EXPECT_EQ(machine.within.latency_us, 1);
  EXPECT_EQ(machine.sum_part_bytes, 4096);
  EXPECT_EQ(machine.unvalidated, "");
  EXPECT_EQ(machine.device.FlopsOf(DType::kFloat32), 1e12);
  EXPECT_EQ(machine.device.FlopsOf(DType::kBFloat16), 1e12);  // it says of fp32 only
  const std::string written = ToJson(machine);
  EXPECT_EQ(ToJson(ParseMachine(written, "again").value()), written);
}

TEST(MachineTest, ErrorsNameTheKeyAndSayWhatItMustBe) {
  const auto error = [](const std::string& from, const std::string& to) {
    return ParseMachine(With(kSmall, from, to), "m.json").status().message();
  };
  EXPECT_EQ(ParseMachine("{", "m.json").status().message(), "m.json: is no JSON");
  EXPECT_EQ(ParseMachine("[]", "m.json").status().message(), "m.json: must be an object");
  EXPECT_EQ(error("\"switch\"", "\"star\""),
            "m.json.within.kind: must be one of bus, mesh, switch");
  EXPECT_EQ(error("1e9,", "0,"), "m.json.device.memory_bytes: must be a number above 0");
  EXPECT_EQ(error("1e10", "\"fast\""), "m.json.within.bytes_per_second: must be a number above 0");
  EXPECT_EQ(error("\"latency_us\": 1}", "\"latency_us\": -1}"),
            "m.json.within.latency_us: must be a number of 0 or more, at most 1000000000.0");
  EXPECT_EQ(error("\"nodes\": 2", "\"nodes\": 1.5"), "m.json.nodes: must be a whole number");
  EXPECT_EQ(error("\"nodes\": 2", "\"nodes\": 65536"),
            "m.json.nodes: makes more than 65536 devices");
  EXPECT_EQ(error("\"nodes\": 2", "\"knots\": 2"), "m.json.knots: is no key of a machine file");
  EXPECT_EQ(error("\"fp32\"", "\"fp31\""),
            "m.json.device.flops: names no type of numbers; \"fp32\" is one");
  EXPECT_EQ(error("\"bytes_per_second\": 1e9, ", ""),
            "m.json.between.bytes_per_second: is missing");
}

TEST(MachineTest, PresetsSayThatNothingBacksThem) {
  for (const std::string& name : PresetNames()) {
    const Machine machine = PresetMachine(name).value();
    EXPECT_NE(machine.unvalidated, "");
    EXPECT_EQ(machine.devices_per_node, 8);
    EXPECT_GE(machine.devices(), 1024);
    EXPECT_EQ(ToJson(ParseMachine(ToJson(machine), name).value()), ToJson(machine));
  }
  EXPECT_EQ(PresetMachine("h100x4").value().devices(), 4);
  for (const char* name : {"h100", "h99x8", "h100x9", "h100x8-ib", "h100x-ib400", "x8", ""}) {
    EXPECT_THAT(PresetMachine(name).status().message(), HasSubstr("h100x8-ib400")) << name;
  }
}

TEST(TopologyTest, AWayTakesThePortsOnIt) {
  const Machine machine = ParseMachine(kSmall, "small.json").value();
  FlowNetwork network;
  Topology topology(machine, network);
  const Route within = topology.RouteOf(0, 1);
  EXPECT_EQ(within.latency, 1'000'000);
  EXPECT_EQ(within.count, 2);
  const Route back = topology.RouteOf(1, 0);
  const std::set<ResourceId> four = {within.uses[0].resource, within.uses[1].resource,
                                     back.uses[0].resource, back.uses[1].resource};
  EXPECT_EQ(four.size(), 4u);  // both ways at once, at full speed
  const Route out = topology.RouteOf(0, 2), beside = topology.RouteOf(1, 3);
  EXPECT_EQ(out.latency, 7'500'000);
  EXPECT_EQ(out.uses[0].resource, beside.uses[0].resource);  // the node's port
  network.Start(0, {.amount = 1e6, .number = 0}, out.Uses());
  network.Start(0, {.amount = 1e6, .number = 1}, beside.Uses());
  EXPECT_EQ(network.NextEnd(), 2'000'000'000);  // 1 MB at half of 1 GB/s
  EXPECT_EQ(network.resources(), 6);
}

TEST(TopologyTest, ASlowPairIsSlowBothWaysAndNobodyElse) {
  Machine machine = ParseMachine(kSmall, "small.json").value();
  machine.slow_pairs.push_back({0, 1, 0.25});
  FlowNetwork network;
  Topology topology(machine, network);
  for (const auto& [from, to, rate] : {std::tuple{0, 1, 2.5e9}, {1, 0, 2.5e9}, {2, 3, 1e10}}) {
    const FlowId id = network.Start(0, {.amount = 1e6}, topology.RouteOf(from, to).Uses());
    EXPECT_EQ(network.RateOf(id), rate);
    EXPECT_EQ(BandwidthOf(machine, from, to), rate);
  }
}

TEST(TopologyTest, MeshAndBus) {
  Machine machine = ParseMachine(kSmall, "small.json").value();
  machine.devices_per_node = 3;
  machine.within.kind = WithinSpec::Kind::kMesh;
  {
    FlowNetwork network;
    Topology topology(machine, network);
    const FlowId one = network.Start(0, {.amount = 1e6}, topology.RouteOf(0, 1).Uses());
    const FlowId two = network.Start(0, {.amount = 1e6}, topology.RouteOf(0, 2).Uses());
    EXPECT_EQ(network.RateOf(one), 1e10);
    EXPECT_EQ(network.RateOf(two), 1e10);
  }
  machine.within.kind = WithinSpec::Kind::kBus;
  FlowNetwork network;
  Topology topology(machine, network);
  const FlowId one = network.Start(0, {.amount = 1e6}, topology.RouteOf(0, 1).Uses());
  const FlowId two = network.Start(0, {.amount = 1e6}, topology.RouteOf(2, 1).Uses());
  EXPECT_EQ(network.RateOf(one), 5e9);
  EXPECT_EQ(network.RateOf(two), 5e9);
}

}  // namespace
}  // namespace tp::sim
