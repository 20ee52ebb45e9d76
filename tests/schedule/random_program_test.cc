// Lowering against the meaning of random Programs, as they are and after all passes.
#include "tests/schedule/random_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/schedule/interpreter.h"
#include "tests/schedule/soundness.h"
#include "tp/ops/all.h"
#include "tp/ops/builder.h"
#include "tp/passes/op_order.h"
#include "tp/passes/passes.h"
#include "tp/schedule/byte_contract.h"

namespace tp {
namespace {

// What is drawn is all that there is: an op of the list needs no line here.
std::set<std::string_view> OpsThatAreNeverDrawn(const ProgramLimits& limits) {
  std::set<std::string_view> never;
  for (const OpDef* def : AllOps()) never.insert(def->name);
  rc::check([&] {
    const Program program = DrawProgram(limits).program;
    for (const Op& op : program.ops()) never.erase(op.def->name);
  });
  return never;
}

TEST(RandomPrograms, HaveEveryOpOfTheList) {
  EXPECT_THAT(OpsThatAreNeverDrawn({.ops = 40, .exact = false}), testing::IsEmpty());
}

// Runs `program` twice, in other orders, and holds results, inputs and parameters against `truth`,
// by value id of the program `meant`.
void ExpectComputes(const Program& program, const Program& meant,
                    const std::vector<std::vector<double>>& truth, const Sources& sources,
                    const Mesh& mesh, const LowerOptions& options = {}) {
  Interpreter interpreter(program, mesh, options);
  RC_ASSERT(DefectOf(program, mesh, interpreter.schedules()) == "");
  const auto seed = *rc::gen::inRange<uint64_t>(0, 1000);
  for (uint64_t step = 0; step < 2; ++step) {
    interpreter.Fill(sources);
    const Status status = interpreter.Step(seed + step);
    RC_ASSERT(status.ToString() == "OK");
    for (ValueId id : meant.results()) {
      const auto actual = interpreter.Read(meant.value(id).name);
      RC_ASSERT(actual.status().ToString() == "OK");
      RC_ASSERT(*actual == truth[id]);
    }
    for (const auto& [name, source] : sources) {
      const ValueId id = meant.Find(name).value();
      const auto actual = interpreter.Read(name);
      RC_ASSERT(actual.status().ToString() == "OK");
      RC_ASSERT(*actual == truth[AfterStep(meant, id)]);
    }
  }
}

RC_GTEST_PROP(RandomPrograms, ComputeWhatTheyMeanOnEveryMesh, ()) {
  const RandomProgram random = DrawProgram();
  const Mesh mesh = DrawMesh();
  RC_LOG() << ToString(random.program) << Describe(mesh) << "\n";
  const auto truth = Evaluate(random.program, random.sources);
  ExpectComputes(random.program, random.program, truth, random.sources, mesh);
}

// What ranks have in common is worked out once; that a rank is lowered with others does not show.
RC_GTEST_PROP(RandomPrograms, LowerTogetherAsAlone, ()) {
  const Program program = DrawProgram().program;
  const Mesh mesh = DrawMesh();
  RC_LOG() << ToString(program) << Describe(mesh) << "\n";
  const LowerOptions options = {.sum_part_bytes = *rc::gen::inRange<int64_t>(0, 2),
                                .keep = *rc::gen::element(Keep::kNeeded, Keep::kAll)};
  const std::vector<Schedule> together = LowerAll(program, mesh, options).value();
  for (const Schedule& schedule : together) {
    RC_ASSERT(schedule == Lower(program, mesh, schedule.rank, options).value());
  }
}

// Whether every rank's part can be lowered, as products of many loops can't in the invariant order.
bool Lowers(const Program& program, const Mesh& mesh) {
  for (int rank = 0; rank < mesh.world(); ++rank) {
    if (!Lower(program, mesh, rank).ok()) return false;
  }
  return true;
}

// Programs that may sum in the invariant order: their partial sums go to redistributes alone.
RC_GTEST_PROP(RandomPrograms, ComputeTheSameInTheInvariantOrder, ()) {
  RandomProgram random = DrawProgram();
  const Mesh mesh = DrawMesh();
  random.program.set_sum_order(SumOrder::kInvariant);
  RC_PRE(SplitsIntoBlocks(mesh));
  RC_PRE(Verify(random.program).ok() && Lowers(random.program, mesh));
  RC_LOG() << ToString(random.program) << Describe(mesh) << "\n";
  const auto truth = Evaluate(random.program, random.sources);
  ExpectComputes(random.program, random.program, truth, random.sources, mesh);
}

// Appends a product that is summed over an axis, whole or scattered, of matrices of any size, with
// what may follow it: a bias, another product, a loss.
void AppendSum(RandomProgram& random, Axis axis) {
  Program& program = random.program;
  Builder b(program);
  const auto size = rc::gen::inRange<int64_t>(2, 9);
  const int64_t m = *size, k = *size, n = *size;
  const auto source = [&](const char* name, Shape shape, Placement placement) {
    Placements placements;
    placements.Set(axis, placement);
    random.sources[name] = [](int64_t i) { return static_cast<double>(i * 5 % 7 - 3); };
    return b.Parameter(name, std::move(shape), DType::kFloat32, placements);
  };
  const ValueId a = source("sum.a", {m, k}, Shard(1));
  const ValueId w = source("sum.b", {k, n}, Shard(0));
  const ValueId part = b.MatMul("sum.part", a, w);
  const Placement to = *rc::gen::element(Replicate(), Shard(0));
  ValueId last = b.Redistribute("sum.whole", part, axis, to);
  if (*rc::gen::arbitrary<bool>()) {
    last = b.AddBias("sum.biased", last, source("sum.bias", {n}, Replicate()));
    if (*rc::gen::arbitrary<bool>()) {
      last = b.MatMul("sum.behind", last, source("sum.c", {n, m}, Replicate()));
    }
  }
  b.Result(last);
  RC_ASSERT(b.status().ToString() == "OK");
}

// Whether a collective was cut: an all_reduce into several, a reduce_scatter into its exchange and
// the sum.
bool IsCut(const Schedule& schedule) {
  std::set<std::string> names;
  return std::any_of(schedule.ops.begin(), schedule.ops.end(), [&](const ScheduledOp& op) {
    const bool exchange = op.name == "sum.whole" && op.call.kind == CollectiveKind::kAllToAll;
    return op.action == Action::kCollective && (exchange || !names.insert(op.name).second);
  });
}

// Sums are cut into as many parts as there may be.
RC_GTEST_PROP(RandomPrograms, ComputeTheSameInParts, ()) {
  RandomProgram random = DrawProgram({.ops = 6, .products = 1});
  const Mesh mesh = *rc::gen::suchThat(rc::gen::exec(DrawMesh), [](const Mesh& drawn) {
    return drawn.Size(Axis::kTp) * drawn.Size(Axis::kDp) > 1;
  });
  AppendSum(random, mesh.Size(Axis::kTp) > 1 ? Axis::kTp : Axis::kDp);
  const auto truth = Evaluate(random.program, random.sources);
  Program program = random.program;
  if (*rc::gen::arbitrary<bool>()) Optimize(program, mesh);
  const LowerOptions in_parts = {.sum_part_bytes = 1};
  RC_ASSERT(IsCut(Lower(program, mesh, 0, in_parts).value()));
  RC_LOG() << ToString(program) << Describe(mesh) << "\n";
  ExpectComputes(program, random.program, truth, random.sources, mesh, in_parts);
}

// By name, kind and axis.
std::multiset<std::string> Contract(const Program& program, const Mesh& mesh) {
  std::multiset<std::string> entries;
  for (const ContractEntry& entry : ByteContract(program, mesh)) {
    entries.insert(entry.name + " " + std::string(Name(entry.kind)) + " " +
                   std::string(entry.axis.name()) + " " + std::to_string(entry.bytes));
  }
  return entries;
}

// Whatever the ops are said to take, and however much is kept back.
RC_GTEST_PROP(RandomPrograms, ComputeAndSendTheSameInAListOrder, ()) {
  const RandomProgram random = DrawProgram({.ops = 20});
  const Mesh mesh = DrawMesh();
  std::vector<OpCost> costs = CostsOf(random.program, mesh, {});
  for (OpCost& cost : costs) {
    if (cost.stream >= 0) cost.seconds = *rc::gen::inRange(0, 9);
  }
  std::vector<Op> ops;
  for (int i : ListOrder(random.program, costs,
                         {.reserve_seconds = static_cast<double>(*rc::gen::inRange(0, 30))})) {
    ops.push_back(random.program.ops()[i]);
  }
  Program program = random.program;
  program.ReplaceOps(std::move(ops));
  RC_CLASSIFY(ToString(program) != ToString(random.program), "another order");
  RC_LOG() << ToString(random.program) << "in another order:\n" << ToString(program);
  RC_ASSERT(Contract(program, mesh) == Contract(random.program, mesh));
  ExpectComputes(program, random.program, Evaluate(random.program, random.sources), random.sources,
                 mesh);
}

RC_GTEST_PROP(RandomPrograms, ComputeTheSameAfterThePasses, ()) {
  const RandomProgram random = DrawProgram();
  const Mesh mesh = DrawMesh();
  Program optimized = random.program;
  Optimize(optimized, mesh);
  RC_LOG() << ToString(random.program) << Describe(mesh) << "\noptimized:\n" << ToString(optimized);
  RC_ASSERT(Verify(optimized).ToString() == "OK");
  const auto truth = Evaluate(random.program, random.sources);
  ExpectComputes(optimized, random.program, truth, random.sources, mesh);
}

}  // namespace
}  // namespace tp
