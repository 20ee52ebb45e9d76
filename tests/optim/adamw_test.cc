#include "tp/optim/adamw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/program/programs.h"
#include "tp/ops/all.h"
#include "tp/ops/builder.h"
#include "tp/optim/learning_rate.h"
#include "tp/runtime/session.h"

namespace tp {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsNan;

// A parameter that its gradient, which is fed, updates.
Program Step(DType dtype, const AdamWOptions& options, bool scaled = false) {
  Program program;
  std::optional<LossScaling> scale;
  if (scaled) {
    Builder b(program);
    scale = AddLossScale(b, AccumulatorOf(dtype));
  }
  const Placements on = On(Axis::kTp, Shard(0));
  const ValueId w = Parameter(program, "w", {4, 6}, on, dtype);
  const ValueId dw = Input(program, "dw", {4, 6}, on, dtype);
  const auto decays = [](const std::string&) { return true; };
  EXPECT_EQ(AddAdamW(program, {w}, {dw}, options, decays, scale).ToString(), "OK");
  EXPECT_EQ(Verify(program).ToString(), "OK");
  return program;
}

TEST(AdamW, KeepsMastersOfNarrowParametersWhereItIsTo) {
  using Types = std::map<std::string, DType>;
  const DType fp32 = DType::kFloat32;
  for (DType dtype : kAllDTypes) {
    for (bool masters : {false, true}) {
      SCOPED_TRACE(std::string(Name(dtype)) + (masters ? " with masters" : " without"));
      const Program program = Step(dtype, {.masters = masters});
      Types types;
      for (const Op& op : program.ops()) {
        if (!op.Is(kParameter)) continue;
        const Value& value = program.value(op.outputs[0]);
        types[value.name] = value.dtype;
      }
      const bool narrow = SizeOf(dtype) < 4;
      const DType wide = narrow ? fp32 : dtype;
      Types expected = {{"w", dtype}, {"w.moment", wide}, {"w.square", wide}};
      if (narrow && masters) expected["w.master"] = fp32;
      EXPECT_EQ(types, expected);
      EXPECT_EQ(OpNames(program).back(), narrow && masters ? "adamw_master" : "adamw");
    }
  }
}

// What w is, beginning with 1, after steps of 2^-10 each, a quarter of bf16's last place below 1.
std::vector<double> AfterSmallSteps(bool masters, int steps) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  const AdamWOptions options = {.eps = 0, .decay = 0, .masters = masters};
  const Program program = Step(DType::kBFloat16, options);
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = Session::Create(*backend, mesh, program).value();
  const auto all = [](double value) { return [value](int64_t) { return value; }; };
  for (const std::string& name : session->NamesOf(Role::kParameter)) {
    const bool weight = name == "w" || name == "w.master";
    EXPECT_TRUE(session->Write(name, all(weight ? 1 : 0)).ok());
  }
  EXPECT_TRUE(session->Feed("dw", all(1)).ok());
  EXPECT_TRUE(session->Feed(kRateInput, all(0x1p-10)).ok());
  std::vector<double> after;
  for (int step = 0; step < steps; ++step) {
    const auto correction = [&](double beta) { return all(BiasCorrection(beta, step)); };
    EXPECT_TRUE(session->Feed(kMomentCorrectionInput, correction(options.beta_moment)).ok());
    EXPECT_TRUE(session->Feed(kSquareCorrectionInput, correction(options.beta_square)).ok());
    EXPECT_EQ(session->Step().ToString(), "OK");
    after.push_back(session->Read("w").value().At(7));
  }
  return after;
}

TEST(AdamW, LosesSmallStepsWithoutMasters) {
  EXPECT_THAT(AfterSmallSteps(/*masters=*/false, 4), ElementsAre(1, 1, 1, 1));
  const std::vector<double> kept = AfterSmallSteps(/*masters=*/true, 4);
  EXPECT_EQ(kept.front(), 1);
  EXPECT_EQ(kept.back(), 1 - 0x1p-8);
}

// What w, its moment and its square are after a step with this gradient, from 1, 2 and 3.
std::vector<double> AfterGradient(DType dtype, bool scaled, double gradient) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  const Program program = Step(dtype, {}, scaled);
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = Session::Create(*backend, mesh, program).value();
  const auto all = [](double value) { return [value](int64_t) { return value; }; };
  const std::map<std::string, double> begin = {{"w.moment", 2}, {"w.square", 3}};
  for (const std::string& name : session->NamesOf(Role::kParameter)) {
    EXPECT_TRUE(session->Write(name, all(begin.contains(name) ? begin.at(name) : 1)).ok());
  }
  EXPECT_TRUE(session->Feed("dw", [=](int64_t i) { return i == 3 ? gradient : 0.5; }).ok());
  for (const char* name : {kRateInput, kMomentCorrectionInput, kSquareCorrectionInput}) {
    EXPECT_TRUE(session->Feed(name, all(1)).ok());
  }
  EXPECT_EQ(session->Step().ToString(), "OK");
  std::vector<double> after;
  for (const char* name : {"w", "w.moment", "w.square"}) {
    after.push_back(session->Read(name).value().At(7));
  }
  return after;
}

// One gradient that is not finite spoils every number, so that it can't be overlooked; unless the
// loss is scaled, and a smaller scale may bring it back.
TEST(AdamW, SkipsAStepWhoseGradientsAreNotFiniteWhereTheLossIsScaled) {
  for (DType dtype : kAllDTypes) {
    SCOPED_TRACE(std::string(Name(dtype)));
    EXPECT_EQ(AfterGradient(dtype, true, 0.5), AfterGradient(dtype, false, 0.5));
    EXPECT_NE(AfterGradient(dtype, true, 0.5), (std::vector<double>{1, 2, 3}));
    for (double gradient :
         {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
      EXPECT_THAT(AfterGradient(dtype, true, gradient), ElementsAre(1, 2, 3));
      EXPECT_THAT(AfterGradient(dtype, false, gradient), Each(IsNan()));
    }
  }
}

}  // namespace
}  // namespace tp
