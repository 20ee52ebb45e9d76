// Lowering against the meaning of random Programs, as they are and after all passes.
#include "tests/schedule/random_program.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/schedule/interpreter.h"
#include "tests/schedule/soundness.h"
#include "tp/passes/passes.h"

namespace tp {
namespace {

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
      const int update = meant.UpdateOf(id);
      const auto actual = interpreter.Read(name);
      RC_ASSERT(actual.status().ToString() == "OK");
      RC_ASSERT(*actual == truth[update < 0 ? id : meant.ops()[update].outputs[0]]);
    }
  }
}

RC_GTEST_PROP(RandomPrograms, ComputeWhatTheyMeanOnEveryMesh, ()) {
  const RandomProgram random = DrawProgram();
  const Mesh mesh = DrawMesh();
  RC_LOG() << ToString(random.program) << "tp " << mesh.Size(Axis::kTp) << " dp "
           << mesh.Size(Axis::kDp) << "\n";
  const auto truth = Evaluate(random.program, random.sources);
  ExpectComputes(random.program, random.program, truth, random.sources, mesh);
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
  RC_PRE(SplitsIntoBlocks(mesh.Size(Axis::kTp)) && SplitsIntoBlocks(mesh.Size(Axis::kDp)));
  RC_PRE(Verify(random.program).ok() && Lowers(random.program, mesh));
  RC_LOG() << ToString(random.program) << "tp " << mesh.Size(Axis::kTp) << " dp "
           << mesh.Size(Axis::kDp) << "\n";
  const auto truth = Evaluate(random.program, random.sources);
  ExpectComputes(random.program, random.program, truth, random.sources, mesh);
}

// Sums are cut into as many parts as there may be.
RC_GTEST_PROP(RandomPrograms, ComputeTheSameInParts, ()) {
  RandomProgram random = DrawProgram();
  const Mesh mesh = DrawMesh();
  const auto truth = Evaluate(random.program, random.sources);
  Program program = random.program;
  if (*rc::gen::arbitrary<bool>()) Optimize(program, mesh);
  RC_LOG() << ToString(program) << "tp " << mesh.Size(Axis::kTp) << " dp " << mesh.Size(Axis::kDp)
           << "\n";
  ExpectComputes(program, random.program, truth, random.sources, mesh, {.sum_part_bytes = 1});
}

RC_GTEST_PROP(RandomPrograms, ComputeTheSameAfterThePasses, ()) {
  const RandomProgram random = DrawProgram();
  const Mesh mesh = DrawMesh();
  Program optimized = random.program;
  Optimize(optimized, mesh);
  RC_LOG() << ToString(random.program) << "tp " << mesh.Size(Axis::kTp) << " dp "
           << mesh.Size(Axis::kDp) << "\noptimized:\n"
           << ToString(optimized);
  RC_ASSERT(Verify(optimized).ToString() == "OK");
  const auto truth = Evaluate(random.program, random.sources);
  ExpectComputes(optimized, random.program, truth, random.sources, mesh);
}

}  // namespace
}  // namespace tp
