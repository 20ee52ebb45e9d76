// Ops together over sharded values, on every rank's schedule: the loss of a language model over a
// sharded vocabulary, whose maxima, sums and targets meet in collectives, with its gradient; and
// what a rank is told of its letters.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/program/evaluate.h"
#include "tests/program/programs.h"
#include "tests/schedule/interpreter.h"
#include "tp/autodiff/backward.h"
#include "tp/core/roundoff.h"
#include "tp/ops/ops.h"
#include "tp/ops/rope.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

constexpr int64_t kTokens = 5;
constexpr int64_t kVocabulary = 7;

class LanguageLoss : public testing::TestWithParam<int> {
 protected:
  LanguageLoss() {
    logits_ = Parameter(program_, "logits", {kTokens, kVocabulary}, On(Axis::kTp, Shard(1)),
                        DType::kFloat64);
    const ValueId ids = Input(program_, "ids", {kTokens}, {}, DType::kInt32);
    const ValueId greatest = Whole(Named({"max"}, kRowMax, {logits_})[0]);
    const ValueId sum = Whole(Named({"sum"}, kExpSum, {logits_, greatest})[0]);
    const std::vector<ValueId> picked = Named({"picked", "counted"}, kPick, {logits_, ids});
    loss_ = Named({"loss"}, kCrossEntropy, {sum, greatest, Whole(picked[0]), Whole(picked[1])},
                  {{"scale", 0.25}})[0];
    gradient_ = AddBackward(program_, loss_, {logits_}).value()[0];
    program_.AddResult(loss_);
    program_.AddResult(gradient_);
    sources_["logits"] = [](int64_t i) { return static_cast<double>(i * 7 % 13 - 6) / 4; };
    sources_["ids"] = [](int64_t i) { return static_cast<double>(i * 3 - 1); };  // two are nobody's
  }

  std::vector<ValueId> Named(std::vector<std::string> names, const OpDef& def,
                             std::vector<ValueId> inputs, Attributes attributes = {}) {
    return AddOp(program_, Phase::kForward, std::move(names), def, std::move(inputs),
                 std::move(attributes))
        .value();
  }
  ValueId Whole(ValueId v) {
    return AddRedistribute(program_, Phase::kForward, program_.value(v).name + ".whole", v,
                           Axis::kTp, Replicate())
        .value();
  }

  Program program_;
  Sources sources_;
  ValueId logits_, loss_, gradient_;
};

TEST_P(LanguageLoss, IsWhatItsFormulaSaysWhereverTheVocabularyIsCut) {
  const Mesh mesh = Mesh::Create(GetParam(), 1).value();
  ASSERT_EQ(Verify(program_).ToString(), "OK");
  Interpreter interpreter(program_, mesh);
  interpreter.Fill(sources_);
  ASSERT_EQ(interpreter.Step(7).ToString(), "OK");
  const std::vector<double> loss = interpreter.Read("loss").value();
  const std::vector<double> gradient = interpreter.Read(program_.value(gradient_).name).value();
  const double bound = Gamma(kTokens * kVocabulary * kTokens * kVocabulary, 0x1p-53);
  double expected = 0;
  for (int64_t i = 0; i < kTokens; ++i) {
    const auto id = static_cast<int64_t>(sources_["ids"](i));
    const bool counted = id >= 0 && id < kVocabulary;
    double sum = 0;
    const auto x = [&](int64_t j) { return sources_["logits"](i * kVocabulary + j); };
    for (int64_t j = 0; j < kVocabulary; ++j) sum += std::exp(x(j));
    if (counted) expected += 0.25 * (std::log(sum) - x(id));
    for (int64_t j = 0; j < kVocabulary; ++j) {
      const double share = counted ? 0.25 * (std::exp(x(j)) / sum - (j == id ? 1 : 0)) : 0;
      EXPECT_NEAR(gradient.at(i * kVocabulary + j), share, bound) << i << " " << j;
    }
  }
  EXPECT_NEAR(loss.at(0), expected, bound * kTokens * 4);
}

INSTANTIATE_TEST_SUITE_P(Ranks, LanguageLoss, testing::Values(1, 2, 3, 4, 8));

// No rank has all logits of a token, nor a value of their size but its own shard.
TEST_F(LanguageLoss, KeepsLogitsOnTheirRank) {
  const Mesh mesh = Mesh::Create(4, 1).value();
  const Schedule schedule = Lower(program_, mesh, 1).value();
  for (const Buffer& buffer : schedule.buffers) {
    EXPECT_LE(buffer.elements, kTokens * 2) << buffer.name;
  }
}

TEST(Letters, ARankIsToldWhichPartOfEachItHas) {
  Program program;
  const ValueId x = Input(program, "x", {2, 7, 3, 4}, On(Axis::kTp, Shard(1)));
  program.AddResult(AddOp(program, Phase::kForward, "y", kRope, {x}, RopeAttributes({})).value());
  const Mesh mesh = Mesh::Create(3, 1).value();
  const Schedule schedule = Lower(program, mesh, 2).value();
  EXPECT_EQ(schedule.ops.at(0).PartOf('s'), (LetterPart{'s', 5, 2, 7}));
  EXPECT_EQ(schedule.ops.at(0).PartOf('d'), (LetterPart{'d', 0, 4, 4}));
}

}  // namespace
}  // namespace tp
