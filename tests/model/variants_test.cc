// The transformer as Qwen2 and as GPT-2 are: biases, learned positions, layer norm and GELU mean
// the same on every mesh, to the bit, and each op of a step is held on the CPU.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/cpu/functions.h"
#include "tests/model/small_transformer.h"
#include "tests/program/evaluate.h"
#include "tp/model/decode.h"
#include "tp/model/transformer.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp {
namespace {

TransformerConfig LikeQwen2() {
  TransformerConfig config = SmallTransformer();
  config.qkv_bias = true;
  return config;
}

TransformerConfig LikeGpt2() {
  TransformerConfig config = SmallTransformer();
  config.kv_heads = config.heads = 3;
  config.norm.kind = NormKind::kLayer;
  config.mlp = MlpKind::kGelu;
  config.qkv_bias = config.bias = true;
  config.positions = 6;  // one more than a sequence has
  config.tied_embeddings = true;
  return config;
}

// A model, and whether its sequences hold several documents.
struct Variant {
  const char* name = "";
  TransformerConfig config;
  bool packed = false;
};
const Variant kVariants[] = {{"Qwen2", LikeQwen2()},
                             {"Gpt2", LikeGpt2()},
                             {"PackedQwen2", LikeQwen2(), true},
                             {"PackedGpt2", LikeGpt2(), true}};

struct Layout {
  int tp = 1;
  int dp = 1;
  bool sequence_parallel = false;
};
constexpr Layout kLayouts[] = {{1, 1},       {2, 1},       {3, 1},       {4, 1},
                               {2, 2},       {2, 1, true}, {3, 1, true}, {4, 1, true},
                               {2, 2, true}, {8, 1, true}};

Program StepOn(const Variant& variant, const Layout& layout, DType dtype) {
  TransformerStepOptions options = SmallStep();
  options.packed = variant.packed;
  options.dtype = dtype;
  options.sequence_parallel = layout.sequence_parallel;
  const Mesh mesh = Mesh::Create(layout.tp, layout.dp).value();
  StatusOr<Program> program = MakeTransformerStep(variant.config, options, mesh);
  EXPECT_EQ(program.status().ToString(), "OK");
  return *std::move(program);
}

// Where the document of each token of three sequences begins: two, one, and three documents.
constexpr int kStarts[] = {0, 0, 2, 2, 2, 0, 0, 0, 0, 0, 0, 1, 1, 1, 4};

// Biases that are not zero, and documents.
ElementSources Sources(const Program& program, const TransformerConfig& config) {
  ElementSources sources = SourcesOf(program, config);
  for (auto& [name, source] : sources) {
    if (!name.ends_with(".bias")) continue;
    source = [](int64_t i) { return 0.25 * static_cast<double>(i % 7 - 3); };
  }
  sources["starts"] = [](int64_t i) { return kStarts[i]; };
  sources["places"] = [](int64_t i) { return static_cast<double>(i % 5 - kStarts[i]); };
  return sources;
}

// By name: the loss, and what the step writes.
std::map<std::string, std::vector<double>> Meaning(const Program& program,
                                                   const TransformerConfig& config) {
  const auto values = Evaluate(program, Sources(program, config));
  std::map<std::string, std::vector<double>> meaning;
  for (const Op& op : program.ops()) {
    for (ValueId output : op.outputs) {
      const std::string& name = program.value(output).name;
      if (name == "loss" || name.ends_with(".updated")) meaning[name] = values[output];
    }
  }
  return meaning;
}

class VariantsTest : public testing::TestWithParam<Variant> {};

TEST_P(VariantsTest, MeanTheSameOnEveryMesh) {
  const TransformerConfig config = GetParam().config;
  const auto expected = Meaning(StepOn(GetParam(), {1, 1}, DType::kFloat64), config);
  EXPECT_GT(expected.size(), 60u);
  for (const Layout& layout : kLayouts) {
    SCOPED_TRACE(Describe(Mesh::Create(layout.tp, layout.dp).value(), layout.sequence_parallel));
    EXPECT_EQ(Meaning(StepOn(GetParam(), layout, DType::kFloat64), config), expected);
  }
}

// Runs a step, then one more, and holds each op of that one. What may vanish, may be undecided.
void ExpectHeld(const Program& program, const Mesh& mesh, const ElementSources& sources,
                const std::function<bool(const std::string& name)>& vanishes) {
  verify::OpByOpOptions checks;
  checks.arithmetic.functions = cpu::ErrorsOfFunctions();
  // Compiled for other instructions, elementary functions have errors that nobody has worked out.
  const bool known = cpu::ErrorsOfFunctions() != nullptr;
  const auto backend = cpu::MakeCpuBackend({});
  const auto observed = verify::Observe(*backend, mesh, program, sources, {.steps_before = 1});
  ASSERT_EQ(observed.status().ToString(), "OK");
  const auto report = verify::VerifyOpByOp(program, mesh, *observed, checks);
  ASSERT_EQ(report.status().ToString(), "OK");
  for (const verify::OpReport& value : report->values) {
    const verify::Outcome outcome = value.outcome();
    EXPECT_TRUE(outcome == verify::Outcome::kOk ||
                (outcome == verify::Outcome::kUndecided && (vanishes(value.name) || !known)))
        << value.name << "\n"
        << verify::ToString(*report);
  }
  EXPECT_GT(report->worst_ratio(), 0.1);  // the bounds are not idle
}

TEST_P(VariantsTest, EachOpOfAStepIsHeld) {
  const TransformerConfig config = GetParam().config;
  for (const Layout& layout : {Layout{1, 1}, Layout{3, 1, true}, Layout{2, 2}}) {
    const Mesh mesh = Mesh::Create(layout.tp, layout.dp).value();
    SCOPED_TRACE(Describe(mesh, layout.sequence_parallel));
    const Program program = StepOn(GetParam(), layout, DType::kFloat32);
    // What is added to all keys alike changes no weight of attention, but for rope: its gradient is
    // nothing but rounding.
    const auto vanishes = [&](const std::string& name) {
      return config.positions > 0 && name.find(".key.bias") != std::string::npos;
    };
    ExpectHeld(program, mesh, Sources(program, config), vanishes);
  }
}

// A token behind one that is in the cache.
TEST_P(VariantsTest, EachOpOfADecodeStepIsHeld) {
  const TransformerConfig config = GetParam().config;
  TransformerStepOptions options = SmallStep();
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    options.dtype = dtype;
    for (const Layout& layout : {Layout{1, 1}, Layout{3, 1}, Layout{4, 1}, Layout{2, 2}}) {
      const Mesh mesh = Mesh::Create(layout.tp, layout.dp).value();
      SCOPED_TRACE(Describe(mesh, false) + " " + std::string(Name(dtype)));
      const auto program = MakeTransformerDecode(config, options, mesh);
      ASSERT_EQ(program.status().ToString(), "OK");
      ElementSources sources = Sources(*program, config);
      for (const auto& [name, elements] : PlaceInputs(config, options.sequence, {2, 0, 4})) {
        sources[name] = elements;
      }
      for (const std::string& cache : CachesOf(*program)) {
        sources[cache] = [](int64_t i) { return 0.125 * static_cast<double>(i % 11 - 5); };
      }
      ExpectHeld(*program, mesh, sources, [](const std::string&) { return false; });
    }
  }
}

TEST_P(VariantsTest, HaveAsManyNumbersAsIsSaid) {
  const TransformerConfig config = GetParam().config;
  const Mesh mesh = Mesh::Create(1, 1).value();
  int64_t numbers = 0;
  const Program program = MakeTransformerForward(config, SmallStep(), mesh).value();
  for (const Op& op : program.ops()) {
    if (op.Is(kParameter)) numbers += NumElements(program.value(op.outputs[0]).shape);
  }
  EXPECT_EQ(NumParameters(config), numbers);
}

INSTANTIATE_TEST_SUITE_P(Models, VariantsTest, testing::ValuesIn(kVariants),
                         [](const auto& info) { return info.param.name; });

// Logits of `tokens` [1, 5], in documents that begin at `starts`.
std::vector<double> LogitsOf(const TransformerConfig& config, const std::vector<int>& tokens,
                             const std::vector<int>& starts) {
  TransformerStepOptions options = SmallStep();
  options.dtype = DType::kFloat64;
  options.batch = 1;
  options.packed = true;
  options.results = {"logits"};
  const Program program =
      MakeTransformerForward(config, options, Mesh::Create(1, 1).value()).value();
  ElementSources sources = Sources(program, config);
  sources["tokens"] = [&](int64_t i) { return tokens[i]; };
  sources["starts"] = [&](int64_t i) { return starts[i]; };
  sources["places"] = [&](int64_t i) { return static_cast<double>(i - starts[i]); };
  return Evaluate(program, sources).at(program.Find("logits").value());
}

std::vector<double> Part(const std::vector<double>& logits, int begin, int end) {
  return {logits.begin() + begin * 13, logits.begin() + end * 13};
}

TEST(VariantsTest, DocumentsInASequenceKnowNothingOfEachOther) {
  for (const TransformerConfig& config : {LikeQwen2(), LikeGpt2()}) {
    const auto logits = LogitsOf(config, {3, 8, 1, 5, 2}, {0, 0, 2, 2, 2});
    const auto other = LogitsOf(config, {9, 4, 1, 5, 2}, {0, 0, 2, 2, 2});
    EXPECT_NE(Part(other, 0, 2), Part(logits, 0, 2));
    EXPECT_EQ(Part(other, 2, 5), Part(logits, 2, 5));
    const auto one = LogitsOf(config, {9, 4, 1, 5, 2}, {0, 0, 0, 0, 0});
    EXPECT_NE(Part(one, 2, 5), Part(logits, 2, 5));
  }
}

// Its places are those of a sequence of its own.
TEST(VariantsTest, ADocumentIsTheSameWhereverItLies) {
  const auto behind = LogitsOf(LikeGpt2(), {3, 8, 1, 5, 2}, {0, 0, 2, 2, 2});
  const auto first = LogitsOf(LikeGpt2(), {1, 5, 2, 3, 8}, {0, 0, 0, 3, 3});
  EXPECT_EQ(Part(behind, 2, 5), Part(first, 0, 3));
  EXPECT_EQ(Part(behind, 0, 2), Part(first, 3, 5));
}

TEST(VariantsTest, PlacesAreAsManyAsTheTableHas) {
  TransformerConfig config = LikeGpt2();
  config.positions = 4;
  EXPECT_EQ(
      MakeTransformerForward(config, SmallStep(), Mesh::Create(1, 1).value()).status().message(),
      "sequence is 5, and the model has 4 positions");
}

}  // namespace
}  // namespace tp
