#include "tp/schedule/memory.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

#include "tests/program/deep_chain.h"
#include "tests/schedule/interpreter.h"
#include "tp/passes/passes.h"
#include "tp/schedule/hazards.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

View WholeOf(const Schedule& schedule, BufferId buffer) {
  const int64_t elements = schedule.buffers[buffer].elements;
  return PackedView(buffer, 0, {elements}, Order::Own(1));
}

// Ops that use buffers of other sizes, mostly for a while each.
Schedule DrawSchedule() {
  Schedule schedule;
  const int buffers = *rc::gen::inRange(1, 20);
  for (int b = 0; b < buffers; ++b) {
    const auto dtype = *rc::gen::element(DType::kBFloat16, DType::kFloat32, DType::kFloat64);
    schedule.buffers.push_back({std::string("b").append(std::to_string(b)), dtype,
                                *rc::gen::element<int64_t>(0, 1, 64, 1000, 2000, 5000)});
  }
  const int ops = *rc::gen::inRange(1, 40);
  for (int i = 0; i < ops; ++i) {
    ScheduledOp op;
    op.stream = *rc::gen::element(Stream::kCompute, Stream::kCommunication);
    for (auto* views : {&op.reads, &op.writes}) {
      for (int k = *rc::gen::inRange(0, 3); k > 0; --k) {
        const int at = i * buffers / ops + *rc::gen::inRange(-2, 3);
        views->push_back(WholeOf(schedule, std::clamp(at, 0, buffers - 1)));
      }
    }
    schedule.ops.push_back(std::move(op));
  }
  for (int k = *rc::gen::inRange(0, 3); k > 0; --k) {
    Binding binding;
    binding.view = WholeOf(schedule, *rc::gen::inRange(0, buffers));
    schedule.bindings.push_back(binding);
  }
  OrderConflicts(schedule);
  return schedule;
}

RC_GTEST_PROP(MemoryPlanner, PlacesBuffersWhereNoRaceCanFollow, ()) {
  Schedule schedule = DrawSchedule();
  MemoryPlanner().Place(schedule, Keep::kNeeded);
  RC_ASSERT(CheckHazards(schedule).ToString() == "OK");
  const ArenaLayout arena = ArenaOf(schedule);
  for (size_t b = 0; b < schedule.buffers.size(); ++b) {
    const Buffer& buffer = schedule.buffers[b];
    RC_ASSERT(buffer.offset >= 0 && buffer.offset + buffer.bytes() <= arena.bytes);
    RC_ASSERT(buffer.offset % SizeOf(buffer.dtype) == 0);
  }
  RC_ASSERT(arena.bytes >= MostLiveBytes(schedule));
  RC_CLASSIFY(arena.bytes < BytesWithoutReuse(schedule));
}

RC_GTEST_PROP(MemoryPlanner, GivesEachBufferItsOwnWhereAllIsKept, ()) {
  Schedule schedule = DrawSchedule();
  MemoryPlanner().Place(schedule, Keep::kAll);
  for (const Buffer& a : schedule.buffers) {
    for (const Buffer& b : schedule.buffers) {
      if (&a == &b || a.bytes() == 0 || b.bytes() == 0) continue;
      RC_ASSERT(a.offset + a.bytes() <= b.offset || b.offset + b.bytes() <= a.offset);
    }
  }
  RC_ASSERT(ArenaOf(schedule).bytes == BytesWithoutReuse(schedule));
}

// One planner for many schedules gives each what a planner of its own would.
RC_GTEST_PROP(MemoryPlanner, PlansEachScheduleAlike, ()) {
  MemoryPlanner planner;
  Schedule first = DrawSchedule();
  Schedule other = DrawSchedule();
  for (Schedule schedule : {first, first, other, first}) {
    Schedule alone = schedule;
    planner.Place(schedule, Keep::kNeeded);
    MemoryPlanner().Place(alone, Keep::kNeeded);
    for (size_t b = 0; b < schedule.buffers.size(); ++b) {
      RC_ASSERT(schedule.buffers[b].offset == alone.buffers[b].offset);
    }
  }
}

TEST(ArenaOf, PutsWhatHasNoPlaceBehindTheRest) {
  Schedule schedule;
  schedule.buffers = {
      {"a", DType::kFloat32, 10}, {"b", DType::kFloat32, 3000, 4096}, {"c", DType::kFloat32, 2000}};
  const ArenaLayout arena = ArenaOf(schedule);
  EXPECT_EQ(arena.offsets, (std::vector<int64_t>{16384, 4096, 20480}));
  EXPECT_EQ(arena.bytes, 28672);
  EXPECT_EQ(ArenaOf(Schedule()).bytes, 0);
}

// What a deep chain computes does not depend on where its buffers lie, and it needs less memory.
TEST(MemoryPlanner, ADeepChainComputesTheSameInLessMemory) {
  for (const auto& [tp, dp] : {std::pair(1, 1), std::pair(2, 2), std::pair(3, 1)}) {
    for (const int64_t part : {0, 256}) {
      const Mesh mesh = Mesh::Create(tp, dp).value();
      Program program = MakeDeepChain({.layers = 6, .tokens = 6, .features = 40});
      Optimize(program, mesh);
      Sources sources;
      for (const Op& op : program.ops()) {
        if (!op.IsSource()) continue;
        const ValueId id = op.outputs[0];
        sources[program.value(id).name] = [id](int64_t i) {
          return static_cast<double>((i * 5 + id) % 3 - 1) / 16;
        };
      }
      std::vector<double> truth;
      for (Keep keep : {Keep::kAll, Keep::kNeeded}) {
        Interpreter interpreter(program, mesh, {.sum_part_bytes = part, .keep = keep});
        for (const Schedule& schedule : interpreter.schedules()) {
          EXPECT_EQ(CheckHazards(schedule).ToString(), "OK");
          const int64_t bytes = ArenaOf(schedule).bytes;
          EXPECT_EQ(bytes < BytesWithoutReuse(schedule), keep == Keep::kNeeded);
        }
        for (uint64_t seed = 0; seed < 6; ++seed) {
          interpreter.Fill(sources);
          EXPECT_EQ(interpreter.Step(seed).ToString(), "OK");
          const auto w = interpreter.Read("layers.0.w");
          ASSERT_EQ(w.status().ToString(), "OK");
          if (truth.empty()) truth = *w;
          EXPECT_EQ(*w, truth) << "tp " << tp << " dp " << dp << " seed " << seed;
        }
      }
    }
  }
}

// A place that is wrong shows in the interpreter too, whatever CheckHazards says.
TEST(MemoryPlanner, AWrongPlaceGivesWrongNumbers) {
  const Mesh mesh = Mesh::Create(1, 1).value();
  const Program program = MakeDeepChain({.layers = 2, .tokens = 2, .features = 4});
  Sources sources;
  for (const Op& op : program.ops()) {
    if (op.IsSource()) sources[program.value(op.outputs[0]).name] = [](int64_t) { return 1.0; };
  }
  const Schedule right = Lower(program, mesh, 0).value();
  int seen = 0;
  for (size_t b = 1; b < right.buffers.size(); ++b) {
    Schedule schedule = right;
    schedule.buffers[b].offset = schedule.buffers[b - 1].offset;
    Interpreter interpreter({schedule}, mesh);
    interpreter.Fill(sources);
    EXPECT_EQ(interpreter.Step(0).ToString(), "OK");
    bool poisoned = false;
    for (const Binding& binding : schedule.bindings) {
      const auto elements = interpreter.Read(binding.name);
      for (double element : elements.value()) poisoned = poisoned || element != element;
    }
    if (poisoned) {
      EXPECT_FALSE(CheckHazards(schedule).ok()) << schedule.buffers[b].name;
    }
    seen += poisoned ? 1 : 0;
  }
  EXPECT_GT(seen, 5);
}

}  // namespace
}  // namespace tp
