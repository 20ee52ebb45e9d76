// The transformer's step: what its program means is the same on every mesh, to the bit; what the
// CPU backend makes of it is held op by op; and it learns.
#include "tp/model/transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/cpu/functions.h"
#include "tests/model/small_transformer.h"
#include "tests/program/evaluate.h"
#include "tp/model/initial.h"
#include "tp/model/presets.h"
#include "tp/passes/micro_batches.h"
#include "tp/runtime/session.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp {
namespace {

using testing::HasSubstr;

struct Layout {
  int tp = 1;
  int dp = 1;
  bool sequence_parallel = false;
};
const Layout kLayouts[] = {{1, 1},       {2, 1},       {3, 1},       {4, 1},
                           {2, 2},       {1, 3},       {8, 1},       {2, 1, true},
                           {3, 1, true}, {4, 1, true}, {2, 2, true}, {8, 1, true}};

Program StepOn(const Layout& layout, TransformerStepOptions options,
               const TransformerConfig& config = SmallTransformer()) {
  options.sequence_parallel = layout.sequence_parallel;
  const Mesh mesh = Mesh::Create(layout.tp, layout.dp).value();
  StatusOr<Program> program = MakeTransformerStep(config, options, mesh);
  EXPECT_EQ(program.status().ToString(), "OK");
  return *std::move(program);
}

// By name: what the step writes, whatever its placements.
std::map<std::string, std::vector<double>> Meaning(const Program& program) {
  const auto values = Evaluate(program, SourcesOf(program, SmallTransformer()));
  std::map<std::string, std::vector<double>> meaning = {
      {"loss", values[program.Find("loss").value()]}};
  for (const Op& op : program.ops()) {
    for (int i = 0; i < op.def->updates; ++i) {
      meaning[program.value(op.outputs[i]).name] = values[op.outputs[i]];
    }
  }
  return meaning;
}

TEST(Transformer, MeansTheSameOnEveryMesh) {
  TransformerStepOptions options = SmallStep();
  options.dtype = DType::kFloat64;
  const auto expected = Meaning(StepOn({1, 1}, options));
  // Two tables and a gain, and nine parameters a layer; each with a moment and a square.
  EXPECT_EQ(expected.size(), 1u + (3 + 2 * 9) * 3);
  for (const Layout& layout : kLayouts) {
    for (bool optimize : {false, true}) {
      SCOPED_TRACE(Describe(Mesh::Create(layout.tp, layout.dp).value(), layout.sequence_parallel));
      options.optimize = optimize;
      EXPECT_EQ(Meaning(StepOn(layout, options)), expected);
    }
  }
}

TEST(Transformer, MeansTheSameWhenItsActivationsAreMadeAgain) {
  TransformerStepOptions options = SmallStep();
  options.dtype = DType::kFloat64;
  const auto expected = Meaning(StepOn({1, 1}, options));
  options.recompute = true;
  for (const Layout& layout : kLayouts) {
    SCOPED_TRACE(Describe(Mesh::Create(layout.tp, layout.dp).value(), layout.sequence_parallel));
    EXPECT_EQ(Meaning(StepOn(layout, options)), expected);
  }
}

// Two micro-batches with the same tokens are one with weights twice as large: a factor that rounds
// nothing.
TEST(Transformer, AddsUpMicroBatches) {
  const auto meaning = [](const Program& program) {
    ElementSources sources = SourcesOf(program, SmallTransformer());
    const bool two = program.Find("micro.1.tokens").ok();
    sources["weights"] = [two](int64_t) { return two ? 0.25 : 0.5; };
    for (const char* name : {"tokens", "targets", "weights"}) {
      sources[MicroBatchName(name, 1)] = sources.at(name);
    }
    const auto values = Evaluate(program, sources);
    std::map<std::string, std::vector<double>> meaning;
    for (ValueId id : program.results()) meaning[program.value(id).name] = values[id];
    return meaning;
  };
  TransformerStepOptions options = SmallStep();
  options.dtype = DType::kFloat64;
  options.results = {"dembedding.weight", "dlayers.1.attention.key.weight", "dnorm.gain"};
  options.batch = 2;
  const auto expected = meaning(StepOn({1, 1}, options));
  EXPECT_EQ(expected.size(), 4u);
  options.batch = 4;
  options.micro_batches = 2;
  for (bool recompute : {false, true}) {
    for (const Layout& layout : kLayouts) {
      SCOPED_TRACE(Describe(Mesh::Create(layout.tp, layout.dp).value(), layout.sequence_parallel));
      options.recompute = recompute;
      EXPECT_EQ(meaning(StepOn(layout, options)), expected);
    }
  }
}

TEST(Transformer, NeedsLessMemoryInPieces) {
  const auto bytes = [](int micro_batches, bool recompute) {
    TransformerStepOptions options;
    options.batch = 8;
    options.sequence = 64;
    options.micro_batches = micro_batches;
    options.recompute = recompute;
    TransformerConfig config = SmallTransformer();
    config.layers = 6;
    const Mesh mesh = Mesh::Create(2, 1).value();
    return ArenaOf(Lower(MakeTransformerStep(config, options, mesh).value(), mesh, 0).value())
        .bytes;
  };
  EXPECT_LT(bytes(1, true), bytes(1, false) / 2);
  EXPECT_LT(bytes(4, false), bytes(1, false) / 2);
  EXPECT_LT(bytes(4, true), bytes(4, false));
}

// By the four bytes of each parameter's copy, and no other value is another one.
TEST(Transformer, NeedsLessMemoryWithoutMasters) {
  const auto made = [](bool masters) {
    TransformerStepOptions options = SmallStep();
    options.dtype = DType::kBFloat16;
    options.adamw.masters = masters;
    return StepOn({1, 1}, options);
  };
  const Program with = made(true), without = made(false);
  const Mesh mesh = Mesh::Create(1, 1).value();
  const auto bytes = [&](const Program& program) {
    return ArenaOf(Lower(program, mesh, 0).value()).bytes;
  };
  EXPECT_GE(bytes(with) - bytes(without), 4 * NumParameters(SmallTransformer()));
  auto expected = Meaning(with);
  std::erase_if(expected,
                [](const auto& value) { return value.first.ends_with(".master.updated"); });
  EXPECT_EQ(Meaning(without), expected);
}

TEST(Transformer, EachOpOfAStepIsHeldOnEveryMesh) {
  verify::OpByOpOptions checks;
  checks.arithmetic.functions = cpu::ErrorsOfFunctions();
  // Compiled for other instructions, elementary functions have errors that nobody has worked out.
  const auto expected =
      cpu::ErrorsOfFunctions() != nullptr ? verify::Outcome::kOk : verify::Outcome::kUndecided;
  for (const Layout& layout : kLayouts) {
    for (const auto& [dtype, masters] :
         {std::pair(DType::kFloat32, true), std::pair(DType::kBFloat16, true),
          std::pair(DType::kBFloat16, false)}) {
      const Mesh mesh = Mesh::Create(layout.tp, layout.dp).value();
      SCOPED_TRACE(Describe(mesh, layout.sequence_parallel) + " " + std::string(Name(dtype)) +
                   (masters ? "" : " without masters"));
      TransformerStepOptions options = SmallStep();
      options.dtype = dtype;
      options.adamw.masters = masters;
      options.adamw.max_norm = 0.5;
      const Program program = StepOn(layout, options);
      const auto backend = cpu::MakeCpuBackend({});
      const auto observed = verify::Observe(
          *backend, mesh, program, SourcesOf(program, SmallTransformer()), {.steps_before = 2});
      ASSERT_EQ(observed.status().ToString(), "OK");
      const auto report = verify::VerifyOpByOp(program, mesh, *observed, checks);
      ASSERT_EQ(report.status().ToString(), "OK");
      EXPECT_EQ(report->outcome(), expected) << verify::ToString(*report);
      EXPECT_GT(report->worst_ratio(), 0.1);  // the bounds are not idle
    }
  }
}

// Trains as a user would, and returns the losses.
std::vector<double> Losses(const Layout& layout, DType dtype, int steps) {
  const Mesh mesh = Mesh::Create(layout.tp, layout.dp).value();
  TransformerStepOptions options = SmallStep();
  options.dtype = dtype;
  const Program program = StepOn(layout, options);
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = Session::Create(*backend, mesh, program).value();
  const ElementSources sources = SourcesOf(program, SmallTransformer());
  for (const Op& op : program.ops()) {
    const std::string& name = program.value(op.outputs.at(0)).name;
    if (!op.IsSource()) continue;
    const ElementSource& source = sources.at(name);
    EXPECT_TRUE((op.Is(kInput) ? session->Feed(name, source) : session->Write(name, source)).ok());
  }
  std::vector<double> losses;
  for (int step = 1; step <= steps; ++step) {
    const auto correction = [&](double beta) {
      return [=](int64_t) { return 1 / (1 - std::pow(beta, step)); };
    };
    EXPECT_TRUE(session->Feed(kMomentCorrectionInput, correction(options.adamw.beta_moment)).ok());
    EXPECT_TRUE(session->Feed(kSquareCorrectionInput, correction(options.adamw.beta_square)).ok());
    EXPECT_EQ(session->Step().ToString(), "OK");
    losses.push_back(session->Read("loss").value().At(0));
  }
  return losses;
}

// What a step of twelve tokens says about them is learnt by heart.
TEST(Transformer, LearnsABatchByHeart) {
  for (const Layout& layout : {Layout{1, 1}, Layout{3, 1, true}, Layout{2, 2, true}}) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      const std::vector<double> losses = Losses(layout, dtype, /*steps=*/80);
      EXPECT_GT(losses.front(), 2);
      EXPECT_LT(losses.back(), losses.front() / 20) << losses.back();
    }
  }
}

TEST(Transformer, ParametersAreNamedAsSaid) {
  const Program program = StepOn({2, 1}, SmallStep());
  for (const char* name :
       {"embedding.weight", "norm.gain", "output.weight", "layers.1.attention.norm.gain",
        "layers.1.attention.query.weight", "layers.1.attention.key.weight",
        "layers.1.attention.value.weight", "layers.1.attention.output.weight",
        "layers.1.mlp.norm.gain", "layers.1.mlp.gate.weight", "layers.1.mlp.up.weight",
        "layers.1.mlp.down.weight"}) {
    EXPECT_TRUE(program.Find(name).ok()) << name;
  }
}

TEST(Transformer, CountsItsParameters) {
  for (std::string_view name : PresetNames()) {
    TransformerConfig config = Preset(name).value();
    const Program program = MakeTransformerForward(config, {}, Mesh::Create(2, 1).value()).value();
    int64_t parameters = 0;
    for (const Op& op : program.ops()) {
      if (op.Is(kParameter)) parameters += NumElements(program.value(op.outputs[0]).shape);
    }
    EXPECT_EQ(NumParameters(config), parameters) << name;
  }
  // As published.
  EXPECT_EQ(NumParameters(Preset("smollm2-135m").value()), 134515008);
  EXPECT_EQ(NumParameters(Preset("llama3-8b").value()), 8030261248);
  EXPECT_EQ(NumParameters(Preset("gpt2").value()), 124439808);
  EXPECT_EQ(NumParameters(Preset("qwen2.5-7b").value()), 7615616512);
}

TEST(Transformer, RefusesWhatNoModelHas) {
  const Mesh mesh = Mesh::Create(1, 1).value();
  TransformerConfig config = SmallTransformer();
  config.kv_heads = 2;
  EXPECT_THAT(MakeTransformerStep(config, SmallStep(), mesh).status().message(),
              HasSubstr("heads is 9 and kv_heads is 2, which must divide it"));
  config = SmallTransformer();
  config.layers = 0;
  EXPECT_THAT(MakeTransformerStep(config, SmallStep(), mesh).status().message(),
              HasSubstr("layers is 0; it must be between 1 and"));
  config = SmallTransformer();
  config.hidden = config.ffn = int64_t{1} << 30;
  EXPECT_THAT(MakeTransformerStep(config, SmallStep(), mesh).status().message(),
              HasSubstr("too large"));
  config = SmallTransformer();
  config.head_size = 5;
  EXPECT_THAT(MakeTransformerStep(config, SmallStep(), mesh).status().message(),
              HasSubstr("head_size is 5, and rope turns pairs"));
  config.positions = 8;  // no rope
  EXPECT_TRUE(MakeTransformerStep(config, SmallStep(), mesh).ok());
  TransformerStepOptions options = SmallStep();
  options.micro_batches = 2;
  EXPECT_THAT(MakeTransformerStep(SmallTransformer(), options, mesh).status().message(),
              HasSubstr("micro_batches is 2, which must divide batch, 3"));
  options = SmallStep();
  options.results = {"dlogits.none"};
  EXPECT_THAT(MakeTransformerStep(SmallTransformer(), options, mesh).status().message(),
              HasSubstr("dlogits.none"));
  EXPECT_THAT(Preset("llama4").status().message(), HasSubstr("llama-tiny, smollm2-135m"));
}

}  // namespace
}  // namespace tp
