// Each pass alone, on random Programs: they still verify and mean the same.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/program/evaluate.h"
#include "tests/schedule/random_program.h"
#include "tp/passes/op_order.h"
#include "tp/passes/passes.h"
#include "tp/passes/step_cost.h"

namespace tp {
namespace {

using Pass = std::function<void(Program&, const Mesh&)>;

void CheckPass(const Pass& pass) {
  const RandomProgram random = DrawProgram();
  const Mesh mesh = DrawMesh();
  Program program = random.program;
  pass(program, mesh);
  RC_LOG() << ToString(random.program) << "after the pass:\n" << ToString(program);
  RC_ASSERT(Verify(program).ToString() == "OK");
  RC_ASSERT(program.results() == random.program.results());
  const auto before = Evaluate(random.program, random.sources);
  const auto after = Evaluate(program, random.sources);
  for (ValueId id : program.results()) {
    RC_ASSERT(program.value(id).name == random.program.value(id).name);
    RC_ASSERT(after[id] == before[id]);
  }
  for (const auto& [name, source] : random.sources) {
    const ValueId id = program.Find(name).value();
    RC_ASSERT((program.UpdateOf(id) < 0) == (random.program.UpdateOf(id) < 0));
    RC_ASSERT(after[AfterStep(program, id)] == before[AfterStep(random.program, id)]);
  }
}

RC_GTEST_PROP(Passes, ComputeLossOnShardsKeepsMeaning, ()) {
  CheckPass([](Program& program, const Mesh&) { ComputeLossOnShards(program); });
}

RC_GTEST_PROP(Passes, FuseLossAndGradientKeepsMeaning, ()) {
  CheckPass([](Program& program, const Mesh&) { FuseLossAndGradient(program); });
}

RC_GTEST_PROP(Passes, FuseBiasKeepsMeaning, ()) {
  CheckPass([](Program& program, const Mesh&) { FuseBias(program); });
}

RC_GTEST_PROP(Passes, FuseSumKeepsMeaning, ()) {
  CheckPass([](Program& program, const Mesh&) { FuseSum(program); });
}

RC_GTEST_PROP(Passes, DropDeadOpsKeepsMeaning, ()) {
  CheckPass([](Program& program, const Mesh&) { DropDeadOps(program); });
}

RC_GTEST_PROP(Passes, StartCommunicationEarlyKeepsMeaning, ()) {
  CheckPass(StartCommunicationEarly);
}

RC_GTEST_PROP(Passes, SyncGradientsEarlyKeepsMeaning, ()) {
  CheckPass([](Program& program, const Mesh&) { SyncGradientsEarly(program); });
}

RC_GTEST_PROP(Passes, ASecondTimeThereIsNothingToDo, ()) {
  const std::vector<Pass> passes = {
      [](Program& program, const Mesh&) { ComputeLossOnShards(program); },
      [](Program& program, const Mesh&) { FuseLossAndGradient(program); },
      [](Program& program, const Mesh&) { FuseBias(program); },
      [](Program& program, const Mesh&) { FuseSum(program); },
      [](Program& program, const Mesh&) { SyncGradientsEarly(program); },
      [](Program& program, const Mesh&) { DropDeadOps(program); },
      StartCommunicationEarly};
  const Pass pass = passes[*rc::gen::inRange<size_t>(0, passes.size())];
  Program program = DrawProgram().program;
  const Mesh mesh = DrawMesh();
  pass(program, mesh);
  const std::string once = ToString(program);
  pass(program, mesh);
  RC_ASSERT(ToString(program) == once);
}

// Whatever ops take, and however much is kept back for whatever collectives there are.
RC_GTEST_PROP(Passes, ListOrderKeepsMeaning, ()) {
  CheckPass([](Program& program, const Mesh& mesh) {
    std::vector<OpCost> costs = CostsOf(program, mesh, {});
    for (OpCost& cost : costs) {
      if (cost.stream >= 0) cost.seconds = *rc::gen::inRange(0, 9);
    }
    const std::vector<int> order =
        ListOrder(program, costs,
                  {.reserve_seconds = static_cast<double>(*rc::gen::inRange(0, 30)),
                   .strands = *rc::gen::inRange(1, 3),
                   .ahead = *rc::gen::inRange(0, 9)});
    const OrderTimes times = TimesOf(program, costs, order);
    RC_ASSERT(times.hidden <= times.communication);
    std::vector<Op> ops;
    for (int i : order) ops.push_back(program.ops()[i]);
    program.ReplaceOps(std::move(ops));
  });
}

RC_GTEST_PROP(Passes, OptimizeKeepsMeaning, ()) { CheckPass(Optimize); }

}  // namespace
}  // namespace tp
