// What ops are said to take and hold, and the orders made of that, beside numbers worked out by
// hand. Rates and sizes are powers of two, so that every number is exact.
#include "tp/passes/op_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tp/ops/parse.h"
#include "tp/passes/step_cost.h"
#include "tp/program/program.h"

namespace tp {
namespace {

using testing::ElementsAre;

constexpr MachineRates kRates = {.flops_per_second = 1024,
                                 .memory_bytes_per_second = 256,
                                 .launch_seconds = 0.5,
                                 .within = {64, 0.25},
                                 .between = {32, 1},
                                 .ranks_per_node = 4};

Program Parse(const std::string& text) {
  Program program = ParseProgram(text).value();
  EXPECT_EQ(Verify(program).ToString(), "OK");
  return program;
}

// A product summed over tp, and every way to go on from there. 8 x 4 floats are 128 bytes.
constexpr char kEveryWay[] = R"(
x: fp32 [8, 16] {tp: Shard(1)} = input()
w: fp32 [16, 4] {tp: Shard(0)} = parameter()
y = matmul(x, w)
reduced: fp32 [8, 4] {tp: Replicate} = redistribute(y)
scattered: fp32 [8, 4] {tp: Shard(0)} = redistribute(y)
gathered: fp32 [8, 4] {tp: Replicate} = redistribute(scattered)
turned: fp32 [8, 4] {tp: Shard(1)} = redistribute(scattered)
view: fp32 [8, 4] {tp: Shard(0)} = redistribute(reduced)
addend: fp32 [8, 4] {tp: Partial} = redistribute(reduced)
result reduced, gathered, turned, view, addend
)";

// By the first output's name: the stream, and seconds.
std::map<std::string, std::pair<int, double>> CostsByName(const Program& program, const Mesh& mesh,
                                                          const MachineRates& rates) {
  const std::vector<OpCost> costs = CostsOf(program, mesh, rates);
  std::map<std::string, std::pair<int, double>> by_name;
  for (size_t i = 0; i < costs.size(); ++i) {
    by_name[program.value(program.ops()[i].outputs[0]).name] = {costs[i].stream, costs[i].seconds};
  }
  return by_name;
}

TEST(StepCost, CountsLaunchesBytesAndLinks) {
  const Mesh mesh = Mesh::Create(4, 1).value();
  auto costs = CostsByName(Parse(kEveryWay), mesh, kRates);
  EXPECT_EQ(costs["x"], std::pair(-1, 0.0));
  // (128 + 64 + 128) bytes from and to memory; 2 * 8 * 4 * 4 flops take less.
  EXPECT_EQ(costs["y"], std::pair(0, 0.5 + 320.0 / 256));
  EXPECT_EQ(costs["reduced"], std::pair(1, 0.5 + 2 * 0.25 + 2 * 0.75 * 128 / 64));
  EXPECT_EQ(costs["scattered"], std::pair(1, 0.5 + 0.25 + 0.75 * 128 / 64));
  EXPECT_EQ(costs["gathered"], std::pair(1, 0.5 + 0.25 + 0.75 * 128 / 64));
  EXPECT_EQ(costs["turned"], std::pair(1, 0.5 + 0.25 + 0.75 * 32 / 64));
  EXPECT_EQ(costs["view"], std::pair(-1, 0.0));
  EXPECT_EQ(costs["addend"], std::pair(0, 0.5 + 128.0 / 256));
  // Of one rank nothing communicates.
  costs = CostsByName(Parse(kEveryWay), Mesh::Create(1, 1).value(), kRates);
  EXPECT_EQ(costs["reduced"], std::pair(-1, 0.0));
  EXPECT_EQ(costs["turned"], std::pair(-1, 0.0));
  // Where flops take longer than bytes, they count.
  MachineRates slow = kRates;
  slow.flops_per_second = 64;
  EXPECT_EQ(CostsByName(Parse(kEveryWay), mesh, slow)["y"], std::pair(0, 0.5 + 256.0 / 64));
}

TEST(StepCost, AsksWhichLinkAnAxisTakes) {
  const auto over_dp = [](const std::string& dtype) {
    return "x: " + dtype + " [8, 16] {dp: Shard(1)} = input()\nw: " + dtype +
           " [16, 4] {dp: Shard(0)} = parameter()\ny = matmul(x, w)\nz: " + dtype +
           " [8, 4] {tp: Replicate} = redistribute(y)\nresult z\n";
  };
  MachineRates rates = kRates;
  rates.ranks_per_node = 2;
  // Ranks 0 and 2 are of two nodes, 0 and 1 of one.
  const Mesh mesh = Mesh::Create(2, 2).value();
  EXPECT_EQ(CostsByName(Parse(over_dp("fp32")), mesh, rates)["z"],
            std::pair(2, 0.5 + 2 * 1.0 + 2 * 0.5 * 128 / 32));
  EXPECT_EQ(CostsByName(Parse(kEveryWay), mesh, rates)["reduced"],
            std::pair(1, 0.5 + 2 * 0.25 + 2 * 0.5 * 128 / 64));
  // The invariant order sends sums of bf16 as fp32.
  EXPECT_EQ(CostsByName(Parse(over_dp("bf16")), mesh, rates)["z"].second,
            0.5 + 2 * 1.0 + 2 * 0.5 * 64 / 32);
  const Program invariant = Parse("sum order invariant\n" + over_dp("bf16"));
  EXPECT_EQ(CostsByName(invariant, mesh, rates)["z"].second, 0.5 + 2 * 1.0 + 2 * 0.5 * 128 / 32);
}

TEST(StepCost, CountsTheFullestRankAndTheRowsThatAreAskedFor) {
  const Program program = Parse(R"(
ids: int32 [8] {tp: Replicate} = input()
table: fp32 [64, 4] {tp: Replicate} = parameter()
rows = embedding(ids, table)
five: fp32 [5, 2] {tp: Shard(0)} = input()
whole: fp32 [5, 2] {tp: Replicate} = redistribute(five)
turned: fp32 [5, 2] {tp: Shard(1)} = redistribute(five)
result rows, whole, turned
)");
  auto costs = CostsByName(program, Mesh::Create(4, 1).value(), kRates);
  // 8 ids, 8 of the table's 64 rows, and 8 that are written.
  EXPECT_EQ(costs["rows"], std::pair(0, 0.5 + (32 + 128 + 128) / 256.0));
  EXPECT_EQ(costs["whole"].second, 0.5 + 0.25 + 0.75 * 40 / 64);
  EXPECT_EQ(costs["turned"].second, 0.5 + 0.25 + 0.75 * 16 / 64);  // two rows of five
}

std::vector<int> AsItIs(const Program& program) {
  std::vector<int> order(program.ops().size());
  std::iota(order.begin(), order.end(), 0);
  return order;
}

constexpr char kSum[] = R"(
x: fp32 [8, 16] {tp: Shard(1)} = input()
w: fp32 [16, 4] {tp: Shard(0)} = parameter()
y = matmul(x, w)
)";

TEST(BytesHeld, CountsFromTheWriterToTheLastReader) {
  const Mesh mesh = Mesh::Create(4, 1).value();
  // x and w, 192 bytes, and the result, 128, for ever; beside them z and a, then a and b. z is
  // summed in y's place, and v a view of it.
  const std::string chain =
      "z: fp32 [8, 4] {tp: Replicate} = redistribute(y)\nv: fp32 [8, 4] {tp: Shard(0)} = "
      "redistribute(z)\n"
      "a = relu(z)\nb = relu(a)\nc = relu(b)\nd = relu(c)\nresult d\n";
  Program program = Parse(kSum + chain);
  EXPECT_EQ(BytesHeld(program, mesh, AsItIs(program)), 192 + 128 + 2 * 128);
  // Not in its place where another reads y: then y, z and `more` are held at one time.
  const std::string more =
      "z: fp32 [8, 4] {tp: Replicate} = redistribute(y)\nmore = add(y, y)\n"
      "sum: fp32 [8, 4] {tp: Replicate} = redistribute(more)\na = add(z, sum)\nresult a\n";
  program = Parse(kSum + more);
  EXPECT_EQ(BytesHeld(program, mesh, AsItIs(program)), 192 + 128 + 3 * 128);
}

TEST(BytesHeld, DependsOnTheOrder) {
  const Mesh mesh = Mesh::Create(4, 1).value();
  const Program program = Parse(kSum + std::string(R"(
z: fp32 [8, 4] {tp: Replicate} = redistribute(y)
a = relu(z)
b = relu(z)
c = relu(z)
d = relu(z)
ab = add(a, b)
abc = add(ab, c)
abcd = add(abc, d)
result abcd
)"));
  // z and the four; or z, two terms and their sum.
  EXPECT_EQ(BytesHeld(program, mesh, AsItIs(program)), 192 + 128 + 5 * 128);
  EXPECT_EQ(BytesHeld(program, mesh, {0, 1, 2, 3, 4, 5, 8, 6, 9, 7, 10}), 192 + 128 + 4 * 128);
}

TEST(OpsBehind, AreReadersAndWritersInPlace) {
  const Program program = Parse(R"(
w: fp32 [8, 4] {tp: Replicate} = parameter()
g: fp32 [8, 4] {tp: Replicate} = input()
part: fp32 [8, 4] {tp: Shard(0)} = redistribute(w)
a = relu(part)
b = relu(w)
new = sgd_update(w, g, rate=0.5)  # optimizer
result a, b
)");
  std::vector<std::vector<int>> behind = OpsBehind(program);
  for (std::vector<int>& others : behind) std::sort(others.begin(), others.end());
  // The update waits for who reads w, and for who reads what may be a view of it.
  EXPECT_THAT(behind, ElementsAre(ElementsAre(2, 4, 5), ElementsAre(5), ElementsAre(3, 5),
                                  ElementsAre(5), ElementsAre(5), ElementsAre()));
}

// Two sums, which an op needs.
constexpr char kTwoSums[] = R"(
x: fp32 [8, 16] {tp: Shard(1)} = input()
w: fp32 [16, 4] {tp: Shard(0)} = parameter()
y = matmul(x, w)
z: fp32 [8, 4] {tp: Replicate} = redistribute(y)
y2 = matmul(x, w)
z2: fp32 [8, 4] {tp: Replicate} = redistribute(y2)
last = add(z, z2)
result last
)";

TEST(OpOrder, TimesTheOrder) {
  const Program program = Parse(kTwoSums);
  std::vector<OpCost> costs = {{}, {}, {0, 2}, {1, 5}, {0, 3}, {1, 1}, {0, 1}};
  // y 0-2, z 2-7, y2 2-5, z2 7-8 as its stream is busy until 7, last 8-9.
  OrderTimes times = TimesOf(program, costs, AsItIs(program));
  EXPECT_EQ(times.seconds, 9);
  EXPECT_EQ(times.communication, 6);
  EXPECT_EQ(times.hidden, 3);
  // y2 0-3, z2 3-4, y 3-5, z 5-10, last 10-11.
  times = TimesOf(program, costs, {0, 1, 4, 5, 2, 3, 6});
  EXPECT_EQ(times.seconds, 11);
  EXPECT_EQ(times.hidden, 1);
  // On two streams z2 is over at 6, and last, 7-8, waits for z.
  costs[5].stream = 2;
  times = TimesOf(program, costs, AsItIs(program));
  EXPECT_EQ(times.seconds, 8);
  EXPECT_EQ(times.hidden, 3);
}

// Names of what computes or communicates, in the order of the list.
std::vector<std::string> Listed(const Program& program, const std::map<std::string, OpCost>& costs,
                                const ListOptions& options) {
  std::vector<OpCost> by_op;
  for (const Op& op : program.ops()) {
    const auto found = costs.find(program.value(op.outputs[0]).name);
    by_op.push_back(found == costs.end() ? OpCost{} : found->second);
  }
  std::vector<std::string> names;
  for (int op : ListOrder(program, by_op, options)) {
    if (by_op[op].stream >= 0) names.push_back(program.value(program.ops()[op].outputs[0]).name);
  }
  return names;
}

// As a backward pass: nobody waits for dw but its sum over dp.
constexpr char kBackward[] = R"(
x: fp32 [8, 8] {dp: Shard(0), tp: Shard(1)} = input()
w: fp32 [8, 8] {tp: Shard(0)} = parameter()
v: fp32 [8, 8] {tp: Shard(1)} = parameter()
dw = relu(x)  # backward
dv = relu(x)  # backward
dx = matmul(x, w)  # backward
dx.sum: fp32 [8, 8] {dp: Shard(0)} = redistribute(dx)  # backward
dx.2 = relu(dx.sum)  # backward
dx.3: fp32 [8, 8] {tp: Replicate} = redistribute(dx.2)  # backward
dx.4 = relu(dx.3)  # backward
result dw, dv, dx.4
)";

std::map<std::string, OpCost> BackwardCosts() {
  return {{"dw", {0, 2}},     {"dv", {0, 2}},   {"dx", {0, 1}},  {"dx.sum", {1, 3}},
          {"dx.2", {0, 0.5}}, {"dx.3", {1, 3}}, {"dx.4", {0, 1}}};
}

TEST(ListOrder, KeepsWorkBackForCollectives) {
  const Program program = Parse(kBackward);
  const auto costs = BackwardCosts();
  EXPECT_THAT(Listed(program, costs, {.reserve_seconds = 0}),
              ElementsAre("dw", "dv", "dx", "dx.sum", "dx.2", "dx.3", "dx.4"));
  // One of them may be kept back.
  EXPECT_THAT(Listed(program, costs, {.reserve_seconds = 2}),
              ElementsAre("dw", "dx", "dx.sum", "dv", "dx.2", "dx.3", "dx.4"));
  // dw 1-3 and dv 3-5 are under dx.sum, 1-4.
  EXPECT_THAT(Listed(program, costs, {.reserve_seconds = 4}),
              ElementsAre("dx", "dx.sum", "dw", "dv", "dx.2", "dx.3", "dx.4"));
  // One under each where one is as long as the collective.
  auto longer = costs;
  longer["dw"].seconds = longer["dv"].seconds = 3;
  EXPECT_THAT(Listed(program, longer, {.reserve_seconds = 6}),
              ElementsAre("dx", "dx.sum", "dw", "dx.2", "dx.3", "dv", "dx.4"));
}

TEST(ListOrder, LetsWhatThePassWaitsForGoFirst) {
  // The sum of dw is there before dx.sum, but while the stream is busy.
  const Program program = Parse(R"(
x: fp32 [8, 8] {tp: Shard(1)} = input()
w: fp32 [8, 8] {tp: Shard(0)} = parameter()
y = matmul(x, w)
y.sum: fp32 [8, 8] {tp: Replicate} = redistribute(y)
dw = add(y, y)  # backward
dw.sum: fp32 [8, 8] {tp: Replicate} = redistribute(dw)  # gradient_sync
dx = matmul(x, w)  # backward
dx.sum: fp32 [8, 8] {tp: Replicate} = redistribute(dx)  # backward
dx.2 = relu(dx.sum)  # backward
result y.sum, dw.sum, dx.2
)");
  std::map<std::string, OpCost> costs = {{"y", {0, 1}},      {"y.sum", {1, 9}}, {"dw", {0, 1}},
                                         {"dw.sum", {1, 2}}, {"dx", {0, 1}},    {"dx.sum", {1, 2}},
                                         {"dx.2", {0, 1}}};
  EXPECT_THAT(Listed(program, costs, {.reserve_seconds = 0}),
              ElementsAre("y", "y.sum", "dw", "dx", "dx.sum", "dw.sum", "dx.2"));
}

constexpr char kStrands[] = R"(
x: fp32 [8, 8] {tp: Shard(1)} = input()
micro.1.x: fp32 [8, 8] {tp: Shard(1)} = input()
w: fp32 [8, 8] {tp: Shard(0)} = parameter()
a = matmul(x, w)
b: fp32 [8, 8] {tp: Replicate} = redistribute(a)
c = relu(b)
micro.1.a = matmul(micro.1.x, w)
micro.1.b: fp32 [8, 8] {tp: Replicate} = redistribute(micro.1.a)
micro.1.c = relu(micro.1.b)
d: fp32 [8, 8] {tp: Partial} = redistribute(c)
e: fp32 [8, 8] {tp: Replicate} = redistribute(d)
micro.1.d: fp32 [8, 8] {tp: Partial} = redistribute(micro.1.c)
micro.1.e: fp32 [8, 8] {tp: Replicate} = redistribute(micro.1.d)
result e, micro.1.e
)";

TEST(ListOrder, OneStrandComputesWhileAnotherCommunicates) {
  const Program program = Parse(kStrands);
  std::map<std::string, OpCost> costs;
  for (const std::string piece : {"", "micro.1."}) {
    for (const char* name : {"a", "c", "d"}) costs[piece + name] = {0, 1};
    for (const char* name : {"b", "e"}) costs[piece + name] = {1, 1};
  }
  EXPECT_THAT(Listed(program, costs, {.strands = 2}),
              ElementsAre("a", "b", "micro.1.a", "micro.1.b", "c", "d", "e", "micro.1.c",
                          "micro.1.d", "micro.1.e"));
  EXPECT_THAT(Listed(program, costs, {.strands = 1}),
              ElementsAre("a", "b", "c", "d", "e", "micro.1.a", "micro.1.b", "micro.1.c",
                          "micro.1.d", "micro.1.e"));
}

TEST(ListOrder, GoesOnlySoFarAhead) {
  const Program program = Parse(R"(
x: fp32 [8, 8] {tp: Shard(1)} = input()
w: fp32 [8, 8] {tp: Shard(0)} = parameter()
a = matmul(x, w)
b: fp32 [8, 8] {tp: Replicate} = redistribute(a)
c = relu(b)
far = matmul(x, w)
sum: fp32 [8, 8] {tp: Replicate} = redistribute(far)
after = add(sum, c)
end: fp32 [8, 8] {tp: Partial} = redistribute(after)
out: fp32 [8, 8] {tp: Replicate} = redistribute(end)
result out
)");
  std::map<std::string, OpCost> costs;
  for (const char* name : {"a", "c", "far", "after", "end"}) costs[name] = {0, 1};
  for (const char* name : {"b", "sum", "out"}) costs[name] = {1, 3};
  EXPECT_THAT(Listed(program, costs, {.ahead = 2}),
              ElementsAre("a", "b", "far", "sum", "c", "after", "end", "out"));
  EXPECT_THAT(Listed(program, costs, {.ahead = 1}),
              ElementsAre("a", "b", "c", "far", "sum", "after", "end", "out"));
}

}  // namespace
}  // namespace tp
