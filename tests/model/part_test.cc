// A block and a feed-forward layer by themselves: what they make of an input and of a gradient is
// what the model's step makes of them, on every mesh; what the CPU backend makes of it is held op
// by op, and is the same in every step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/cpu/functions.h"
#include "tests/model/small_transformer.h"
#include "tests/program/evaluate.h"
#include "tp/core/random.h"
#include "tp/model/model_flops.h"
#include "tp/model/presets.h"
#include "tp/model/transformer.h"
#include "tp/runtime/session.h"
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
const Layout kLayouts[] = {{1, 1},       {2, 1},       {3, 1},       {2, 2},      {8, 1},
                           {2, 1, true}, {3, 1, true}, {2, 2, true}, {8, 1, true}};
constexpr TransformerPart kParts[] = {TransformerPart::kBlock, TransformerPart::kMlp};

// With biases, so that gradients that are another value's too are among them.
TransformerConfig Biased() {
  TransformerConfig config = SmallTransformer();
  config.mlp = MlpKind::kGelu;
  config.norm.kind = NormKind::kLayer;
  config.bias = config.qkv_bias = true;
  return config;
}

Program PartOn(const Layout& layout, TransformerPart part, TransformerStepOptions options,
               const TransformerConfig& config) {
  options.sequence_parallel = layout.sequence_parallel;
  const Mesh mesh = Mesh::Create(layout.tp, layout.dp).value();
  StatusOr<Program> program = MakeTransformerPart(config, part, options, mesh);
  EXPECT_EQ(program.status().ToString(), "OK");
  return *std::move(program);
}

ElementSource Drawn(uint64_t stream) {
  return [=](int64_t i) { return RandomTensor(3, stream).Uniform(static_cast<uint64_t>(i)); };
}

ElementSources PartSources(const Program& program, const TransformerConfig& config) {
  ElementSources sources = SourcesOf(program, config);
  sources["x"] = Drawn(1);
  sources["dy"] = Drawn(2);
  return sources;
}

using Meaning = std::map<std::string, std::vector<double>>;

// The results, by name.
Meaning MeaningOf(const Program& program, const ElementSources& sources) {
  const auto values = Evaluate(program, sources);
  Meaning meaning;
  for (ValueId id : program.results()) meaning[program.value(id).name] = values[id];
  return meaning;
}

TEST(TransformerPart, MeansTheSameOnEveryMesh) {
  TransformerStepOptions options = SmallStep();
  options.dtype = DType::kFloat64;
  for (const TransformerConfig& config : {SmallTransformer(), Biased()}) {
    for (TransformerPart part : kParts) {
      const Program one = PartOn({1, 1}, part, options, config);
      const Meaning expected = MeaningOf(one, PartSources(one, config));
      for (const Layout& layout : kLayouts) {
        SCOPED_TRACE(
            Describe(Mesh::Create(layout.tp, layout.dp).value(), layout.sequence_parallel));
        for (bool optimize : {false, true}) {
          options.optimize = options.overlap = optimize;
          const Program program = PartOn(layout, part, options, config);
          EXPECT_EQ(MeaningOf(program, PartSources(program, config)), expected);
        }
      }
    }
  }
}

// A step of the whole model, in which layer 0 takes `x` and gives `y`, and what it makes of it.
struct OfModel {
  std::string x, y, dx, dy;
};

// The part fed with the model's own x and dy gives the model's y, dx and gradients, to the bit.
void ExpectIsThatOfTheModel(const TransformerConfig& config, TransformerPart part,
                            const OfModel& names) {
  TransformerStepOptions options = SmallStep();
  options.dtype = DType::kFloat64;
  options.optimize = false;
  const Mesh mesh = Mesh::Create(1, 1).value();
  const Program model = MakeTransformerStep(config, options, mesh).value();
  const auto values = Evaluate(model, SourcesOf(model, config));
  const auto of_model = [&](const std::string& name) {
    const StatusOr<ValueId> id = model.Find(name);
    EXPECT_TRUE(id.ok()) << name;
    return id.ok() ? values[*id] : std::vector<double>();
  };
  const Program program = PartOn({1, 1}, part, options, config);
  ElementSources sources = SourcesOf(program, config);
  for (const auto& [input, name] : {std::pair("x", names.x), std::pair("dy", names.dy)}) {
    sources[input] = [elements = of_model(name)](int64_t i) {
      return elements.at(static_cast<size_t>(i));
    };
  }
  Meaning meaning = MeaningOf(program, sources);
  EXPECT_EQ(meaning["y"], of_model(names.y));
  EXPECT_EQ(meaning["dx"], of_model(names.dx));
  int parameters = 0;
  for (const Op& op : program.ops()) {
    if (!op.Is(kParameter)) continue;
    ++parameters;
    const std::string gradient = "d" + program.value(op.outputs[0]).name;
    EXPECT_EQ(meaning[gradient], of_model(gradient)) << gradient;
  }
  EXPECT_EQ(meaning.size(), 2u + static_cast<size_t>(parameters));
}

TEST(TransformerPart, IsThatOfTheModel) {
  const TransformerConfig config = SmallTransformer();
  // Of what several ops read, the gradient is a sum, which has the second one of its names.
  ExpectIsThatOfTheModel(config, TransformerPart::kBlock,
                         {"embedding", "layers.0.mlp.sum", "dembedding.2", "dlayers.0.mlp.sum.2"});
  // The sum's gradient goes on as that of what is added.
  ExpectIsThatOfTheModel(
      config, TransformerPart::kMlp,
      {"layers.0.mlp.norm", "layers.0.mlp.down", "dlayers.0.mlp.norm", "dlayers.0.mlp.sum.2"});
}

void ExpectHeld(const TransformerConfig& config) {
  verify::OpByOpOptions checks;
  checks.arithmetic.functions = cpu::ErrorsOfFunctions();
  const auto expected =
      cpu::ErrorsOfFunctions() != nullptr ? verify::Outcome::kOk : verify::Outcome::kUndecided;
  for (const Layout& layout : kLayouts) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      for (TransformerPart part : kParts) {
        const Mesh mesh = Mesh::Create(layout.tp, layout.dp).value();
        SCOPED_TRACE(Describe(mesh, layout.sequence_parallel) + " " + std::string(Name(dtype)));
        TransformerStepOptions options = SmallStep();
        options.dtype = dtype;
        options.overlap = true;
        const Program program = PartOn(layout, part, options, config);
        const auto backend = cpu::MakeCpuBackend({});
        const auto observed = verify::Observe(*backend, mesh, program, PartSources(program, config),
                                              {.steps_before = 2});
        ASSERT_EQ(observed.status().ToString(), "OK");
        const auto report = verify::VerifyOpByOp(program, mesh, *observed, checks);
        ASSERT_EQ(report.status().ToString(), "OK");
        EXPECT_EQ(report->outcome(), expected) << verify::ToString(*report);
        EXPECT_GT(report->worst_ratio(), 0.1);  // the bounds are not idle
      }
    }
  }
}

TEST(TransformerPart, EachOpOfAStepIsHeldOnEveryMesh) { ExpectHeld(SmallTransformer()); }

// The query heads of a group lie on several ranks: gradients of keys and values are sums over them.
TEST(TransformerPart, IsHeldWhereRanksShareAGroup) {
  TransformerConfig config = SmallTransformer();
  config.heads = 3;
  config.kv_heads = 1;
  ExpectHeld(config);
}

// Nothing trains: what is fed once stands, and so do all results.
TEST(TransformerPart, GivesTheSameInEveryStep) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  for (TransformerPart part : kParts) {
    for (bool sequence_parallel : {false, true}) {
      const Program program =
          PartOn({2, 1, sequence_parallel}, part, SmallStep(), SmallTransformer());
      const ElementSources sources = PartSources(program, SmallTransformer());
      const auto backend = cpu::MakeCpuBackend({});
      const auto session = Session::Create(*backend, mesh, program).value();
      for (const Op& op : program.ops()) {
        if (!op.IsSource()) continue;
        const std::string& name = program.value(op.outputs.at(0)).name;
        const ElementSource& source = sources.at(name);
        ASSERT_TRUE(
            (op.Is(kInput) ? session->Feed(name, source) : session->Write(name, source)).ok());
      }
      Meaning first;
      for (int step = 0; step < 3; ++step) {
        ASSERT_EQ(session->Step().ToString(), "OK");
        for (ValueId id : program.results()) {
          const std::string& name = program.value(id).name;
          const std::vector<double> elements = session->Read(name).value().ToDoubles();
          const auto [seen, is_new] = first.emplace(name, elements);
          EXPECT_EQ(seen->second, elements) << name;
          EXPECT_NE(elements, std::vector<double>(elements.size())) << name;
        }
      }
    }
  }
}

TEST(TransformerPart, CountsItsParameters) {
  for (std::string_view name : PresetNames()) {
    const TransformerConfig config = Preset(name).value();
    for (TransformerPart part : kParts) {
      const Program program = PartOn({2, 1, true}, part, {}, config);
      int64_t parameters = 0;
      for (const Op& op : program.ops()) {
        if (op.Is(kParameter)) parameters += NumElements(program.value(op.outputs[0]).shape);
      }
      EXPECT_EQ(NumParameters(config, part), parameters) << name << " " << Name(part);
    }
  }
}

TEST(TransformerPart, AsksForTheModelsOperationsWithoutItsHead) {
  for (std::string_view name : PresetNames()) {
    TransformerConfig config = Preset(name).value();
    const double layers = static_cast<double>(config.layers);
    const double blocks = layers * PartFlops(config, TransformerPart::kBlock, 2, 8);
    config.layers = 0;
    EXPECT_EQ(blocks + ModelFlops(config, 2, 8), ModelFlops(Preset(name).value(), 2, 8)) << name;
  }
  const TransformerConfig config = Preset("llama3-8b").value();
  EXPECT_EQ(PartFlops(config, TransformerPart::kMlp, 1, 2048), 18.0 * 2048 * 4096 * 14336);
}

TEST(TransformerPart, HasNames) {
  for (TransformerPart part : kParts) EXPECT_EQ(ParseTransformerPart(Name(part)), part);
  EXPECT_EQ(ParseTransformerPart("head"), std::nullopt);
}

TEST(TransformerPart, RefusesWhatNoModelHas) {
  const Mesh mesh = Mesh::Create(1, 1).value();
  TransformerConfig config = SmallTransformer();
  config.kv_heads = 2;
  EXPECT_THAT(
      MakeTransformerPart(config, TransformerPart::kBlock, SmallStep(), mesh).status().message(),
      HasSubstr("kv_heads is 2, which must divide it"));
}

}  // namespace
}  // namespace tp
