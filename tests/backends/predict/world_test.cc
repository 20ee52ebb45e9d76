#include "backends/predict/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include "backends/predict/fit.h"
#include "backends/predict/measurements.h"
#include "backends/predict/op_work.h"
#include "tests/core/sanitized.h"
#include "tp/model/linear_step.h"
#include "tp/model/presets.h"
#include "tp/model/transformer.h"

namespace tp::predict {
namespace {

using testing::HasSubstr;

// Under a sanitizer a world takes about thirty times as long, and touches memory in the same ways.
constexpr int kWorlds = kSanitized ? 500 : 10'000;

sim::Machine SmallMachine(int devices_per_node, int nodes) {
  sim::Machine machine;
  machine.name = "small";
  machine.device = {.name = "d",
                    .memory_bytes = 1e10,
                    .memory_bytes_per_second = 1e12,
                    .flops = {{DType::kFloat32, 1e13}},
                    .launch_us = 2,
                    .collective_processors = 0.2};
  machine.devices_per_node = devices_per_node;
  machine.nodes = nodes;
  machine.within = {sim::WithinSpec::Kind::kSwitch, 1e11, 1, false};
  machine.between = {sim::BetweenSpec::Per::kDevice, 1e10, 5};
  return machine;
}

StatusOr<Prediction> PredictOn(const sim::Machine& machine, const Program& program,
                               const Mesh& mesh, bool fold = true) {
  const CostModel model(machine);
  CollectiveTimer timer(model, sim::Algorithm::kAuto);
  return Predict(program, mesh, model, timer, {.lower = {}, .fold = fold});
}

// One of each colour, or all: the same step, but for a picosecond that each event may round by.
TEST(WorldTest, FoldedIsUnfolded) {
  std::mt19937_64 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  int folded_away = 0;
  for (int trial = 0; trial < kWorlds; ++trial) {
    const Mesh mesh = Mesh::Create(1 + below(4), 1 + below(4)).value();
    LinearStepOptions options;
    options.mode = below(2) == 0 ? LinearMode::kRow : LinearMode::kColumn;
    options.tokens = 1 + below(40);
    options.in_features = 1 + below(300);
    options.out_features = 1 + below(300);
    sim::Machine machine = SmallMachine(1 + below(8), 16);
    if (below(3) == 0) machine.between.per = sim::BetweenSpec::Per::kNode;
    if (below(4) == 0) machine.within.kind = sim::WithinSpec::Kind::kBus;
    if (below(3) == 0) machine.slower[below(mesh.world())] = 1.5;
    if (below(3) == 0 && mesh.world() > 1) {
      machine.slow_pairs.push_back({below(mesh.world() - 1), mesh.world() - 1, 0.25});
    }
    const Program program = MakeLinearStep(options, mesh).value();
    const Prediction folded = PredictOn(machine, program, mesh).value();
    const Prediction all = PredictOn(machine, program, mesh, false).value();
    const double bound = 1e-12 * static_cast<double>(all.events);
    ASSERT_NEAR(folded.seconds, all.seconds, bound) << "trial " << trial;
    // Sums of doubles, each term rounded once.
    ASSERT_NEAR(folded.closed_seconds / all.closed_seconds, 1, 1e-12) << "trial " << trial;
    ASSERT_EQ(folded.memory_bytes, all.memory_bytes) << "trial " << trial;
    ASSERT_NEAR(folded.compute_seconds, all.compute_seconds, bound) << "trial " << trial;
    folded_away += mesh.world() - static_cast<int>(folded.ranks.size());
    int stands_for = 0;
    for (const PredictedRank& rank : folded.ranks) stands_for += rank.stands_for;
    ASSERT_EQ(stands_for, mesh.world());
  }
  EXPECT_GT(folded_away, kWorlds / 2);
}

TEST(WorldTest, ATransformerFoldsToAFewRanks) {
  const TransformerConfig config = Preset("llama-tiny").value();
  TransformerStepOptions options;
  options.batch = 8;
  options.sequence = 16;
  options.sequence_parallel = true;
  for (const auto& [tp, dp] : {std::pair{2, 4}, {4, 2}, {3, 3}}) {
    const Mesh mesh = Mesh::Create(tp, dp).value();
    const Program program = MakeTransformerStep(config, options, mesh).value();
    const sim::Machine machine = SmallMachine(4, 4);
    const Prediction folded = PredictOn(machine, program, mesh).value();
    const Prediction all = PredictOn(machine, program, mesh, false).value();
    EXPECT_NEAR(folded.seconds, all.seconds, 1e-12 * static_cast<double>(all.events));
    // No size divides by 3, and then no two ranks are alike.
    if (tp != 3) {
      EXPECT_LT(folded.ranks.size(), all.ranks.size());
    }
    EXPECT_LE(folded.exposed_seconds, folded.communication_seconds);
    for (const PredictedRank& rank : folded.ranks) {
      EXPECT_EQ(rank.step.clock, ClockKind::kPredicted);
      EXPECT_EQ(rank.step.ops.size(), rank.schedule.ops.size());
    }
  }
}

// A rank that takes twice as long for its work, and links that are slower, take longer; ranks that
// take half of the work, shorter.
TEST(WorldTest, WhatIf) {
  const Mesh one = Mesh::Create(1, 1).value(), four = Mesh::Create(4, 1).value();
  LinearStepOptions options;
  options.tokens = options.in_features = options.out_features = 4096;
  const sim::Machine machine = SmallMachine(4, 1);
  const double alone =
      PredictOn(machine, MakeLinearStep(options, one).value(), one).value().seconds;
  const Program program = MakeLinearStep(options, four).value();
  const double split = PredictOn(machine, program, four).value().seconds;
  EXPECT_LT(split, alone);
  EXPECT_GT(split, alone / 4);
  sim::Machine straggler = machine;
  straggler.slower[2] = 2;
  const double slower = PredictOn(straggler, program, four).value().seconds;
  EXPECT_GT(slower, split);
  EXPECT_LT(slower, 2 * split);
  sim::Machine far_streams = machine;
  far_streams.device.handover_us = 10;
  const double handed = PredictOn(far_streams, program, four).value().seconds;
  EXPECT_GT(handed, split);  // some of it beside other work
  EXPECT_LT(handed, split + 10e-6 * static_cast<double>(program.ops().size()));
  sim::Machine slow_link = machine;
  slow_link.slow_pairs.push_back({0, 1, 0.1});
  EXPECT_GT(PredictOn(slow_link, program, four).value().seconds, split);
}

// By rows Y is gathered, 2 MiB of each of four, beside the loss; so what the gather occupies no
// more is the loss's.
TEST(WorldTest, CopiedGathersOccupyNothing) {
  const Mesh mesh = Mesh::Create(4, 1).value();
  LinearStepOptions options;
  options.tokens = options.in_features = options.out_features = 1024;
  options.mode = LinearMode::kRow;
  const Program program = MakeLinearStep(options, mesh).value();
  sim::Machine machine = SmallMachine(4, 1);
  machine.device.collective_processors = 0.9;
  const double occupied = PredictOn(machine, program, mesh).value().seconds;
  constexpr double kSent = 3 * 1024 * 1024;  // a megabyte to each of three
  machine.device.copied_bytes = kSent + 1;
  EXPECT_EQ(PredictOn(machine, program, mesh).value().seconds, occupied);
  machine.device.copied_bytes = kSent;
  EXPECT_LT(PredictOn(machine, program, mesh).value().seconds, occupied);
}

// Whose ops were timed, it is as far off as the fitted steps are; and further where they may err.
TEST(WorldTest, TheIntervalIsThatOfFittedSteps) {
  const Mesh mesh = Mesh::Create(1, 1).value();
  const Program program = MakeLinearStep({}, mesh).value();
  const sim::Machine machine = SmallMachine(1, 1);
  Measurements timed, steps;
  const Prediction preset = PredictOn(machine, program, mesh).value();
  for (const OpWork& work : preset.ranks[0].works) {
    if (work.IsProduct()) {
      timed.products.push_back({work.dtype, work.product, 10});
    } else {
      timed.ops.push_back({ActionOf(work), work.dtype, work.bytes, 10});
    }
  }
  const auto spread = [&](double step_spread, double repeat_floor) {
    steps.step_spread = step_spread;
    timed.repeat_floor = repeat_floor;
    Fit fit(steps, machine);
    fit.Take(timed);
    const CostModel model(machine, &fit);
    CollectiveTimer timer(model, sim::Algorithm::kAuto);
    return Predict(program, mesh, model, timer).value().spread;
  };
  EXPECT_EQ(preset.spread, 0);
  EXPECT_DOUBLE_EQ(spread(1.0625, 0), 1.0625);
  EXPECT_GT(spread(1.0625, 0.25), 1.0625);
  EXPECT_LT(spread(1.0625, 0.25), 1.25 * 1.0625);
  EXPECT_DOUBLE_EQ(spread(0, 0.25), 1.25);  // nobody knows how far off steps are
}

// By rows y lies so that its gather packs nothing: along its columns, where two ranks have it. What
// is timed of such ops says nothing of others.
TEST(WorldTest, WorkSaysWhatIsTurned) {
  LinearStepOptions options;
  options.mode = LinearMode::kRow;
  for (int tp : {1, 2}) {
    const Mesh mesh = Mesh::Create(tp, 1).value();
    const Program program = MakeLinearStep(options, mesh).value();
    const Prediction prediction = PredictOn(SmallMachine(2, 1), program, mesh).value();
    const PredictedRank& rank = prediction.ranks[0];
    for (size_t i = 0; i < rank.works.size(); ++i) {
      const ScheduledOp& op = rank.schedule.ops[i];
      if (op.action == Action::kSumRows) {
        EXPECT_EQ(ActionOf(rank.works[i]), tp == 1 ? "sum_rows" : "sum_rows turned");
      } else if (op.action == Action::kGemm && op.name.starts_with("y")) {
        EXPECT_EQ(rank.works[i].product.c_turned, tp == 2);
      }
    }
  }
}

TEST(WorldTest, RefusesMoreRanksThanDevices) {
  const Mesh mesh = Mesh::Create(2, 4).value();
  const Program program = MakeLinearStep({}, mesh).value();
  EXPECT_THAT(PredictOn(SmallMachine(4, 1), program, mesh).status().message(),
              HasSubstr("the mesh has 8 ranks, and small has 4 devices"));
}

}  // namespace
}  // namespace tp::predict
