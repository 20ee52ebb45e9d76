// A transformer as deep as real ones, on sizes that are small: it trains on the CPU backend, each
// op of a step is held, and memory is used again all along its depth.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/cpu/functions.h"
#include "tests/model/small_transformer.h"
#include "tp/model/transformer.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp {
namespace {

constexpr int kLayers = 32;

class DeepTransformer : public testing::Test {
 protected:
  DeepTransformer() {
    config_.layers = kLayers;
    TransformerStepOptions options;
    options.batch = 2;
    options.sequence = 12;
    options.sequence_parallel = true;
    program_ = MakeTransformerStep(config_, options, mesh_).value();
  }

  // What a step computes, once so many have run before it.
  verify::ObservedValues After(int steps) {
    const auto backend = cpu::MakeCpuBackend({});
    auto observed = verify::Observe(*backend, mesh_, program_, SourcesOf(program_, config_),
                                    {.steps_before = steps});
    EXPECT_EQ(observed.status().ToString(), "OK");
    return *std::move(observed);
  }

  double LossOf(const verify::ObservedValues& observed) const {
    return observed.values[program_.Find("loss").value()]->At(0);
  }

  const Mesh mesh_ = Mesh::Create(2, 1).value();
  TransformerConfig config_ = SmallTransformer();
  Program program_;
};

TEST_F(DeepTransformer, TrainsAndEachOpIsHeld) {
  EXPECT_GE(program_.ops().size(), 3000u);
  const verify::ObservedValues trained = After(3);
  EXPECT_LT(LossOf(trained), LossOf(After(0)));
  verify::OpByOpOptions checks;
  checks.arithmetic.functions = cpu::ErrorsOfFunctions();
  const auto report = verify::VerifyOpByOp(program_, mesh_, trained, checks);
  ASSERT_EQ(report.status().ToString(), "OK");
  // Compiled for other instructions, elementary functions have errors that nobody has worked out.
  const auto expected =
      cpu::ErrorsOfFunctions() != nullptr ? verify::Outcome::kOk : verify::Outcome::kUndecided;
  EXPECT_EQ(report->outcome(), expected) << verify::ToString(*report);
  EXPECT_GT(report->worst_ratio(), 0.5);  // the bounds are not idle
}

TEST_F(DeepTransformer, UsesMemoryAgain) {
  int64_t peak = 0, without = 0;
  const std::vector<Schedule> schedules = LowerAll(program_, mesh_).value();
  for (const Schedule& schedule : schedules) {
    peak = std::max(peak, ArenaOf(schedule).bytes);
    without = std::max(without, BytesWithoutReuse(schedule));
  }
  std::cout << program_.ops().size() << " ops; the fullest rank holds " << peak
            << " bytes at its peak, " << without << " were no memory used again\n";
  EXPECT_LT(peak, without / 2);
}

}  // namespace
}  // namespace tp
