// Ops that must know where in the whole their part lies, held op by op: on all elements at once,
// and on a sample, where the reference too sees parts; and maxima over ranks.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/cpu/functions.h"
#include "tests/program/programs.h"
#include "tp/autodiff/backward.h"
#include "tp/core/random.h"
#include "tp/ops/ops.h"
#include "tp/ops/rope.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp::verify {
namespace {

constexpr int64_t kTokens = 6;
constexpr int64_t kVocabulary = 11;
constexpr int64_t kHeads = 3;
constexpr int64_t kSize = 4;

// Ids that are some token's embedding, turned by their position, against a vocabulary that is cut
// over tp; with the gradients of all of it.
class Language {
 public:
  explicit Language(DType dtype) {
    const ValueId ids = Input(program_, "ids", {1, kTokens}, {}, DType::kInt32);
    const ValueId x =
        Parameter(program_, "x", {1, kTokens, kHeads, kSize}, On(Axis::kTp, Shard(1)), dtype);
    const ValueId turned = Op({"turned"}, kRope, {x}, RopeAttributes({}))[0];
    program_.AddResult(turned);
    const ValueId logits =
        Parameter(program_, "logits", {1, kTokens, kVocabulary}, On(Axis::kTp, Shard(2)), dtype);
    const ValueId greatest = Whole(Op({"max"}, kRowMax, {logits})[0]);
    const ValueId sum = Whole(Op({"sum"}, kExpSum, {logits, greatest})[0]);
    const std::vector<ValueId> picked = Op({"picked", "counted"}, kPick, {logits, ids});
    const ValueId loss =
        Op({"loss"}, kCrossEntropy, {sum, greatest, Whole(picked[0]), Whole(picked[1])},
           {{"scale", 0.25}})[0];
    program_.AddResult(AddBackward(program_, loss, {logits}).value()[0]);
    program_.AddResult(loss);
  }
  const Program& program() const { return program_; }

 private:
  std::vector<ValueId> Op(std::vector<std::string> names, const OpDef& def,
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
};

TEST(OpByOpParts, HoldWhereverTheyAreCut) {
  const RandomTensor random(/*seed=*/3, /*stream=*/0);
  const auto numbers = [&](int64_t i) { return 3 * random.Uniform(static_cast<uint64_t>(i)); };
  const std::map<std::string, std::function<double(int64_t)>> sources = {
      {"ids", [](int64_t i) { return static_cast<double>(i * 7 % kVocabulary); }},
      {"x", numbers},
      {"logits", numbers}};
  OpByOpOptions everything{.full = true}, sample{.max_points = 8};
  everything.arithmetic.functions = sample.arithmetic.functions = cpu::ErrorsOfFunctions();
  ASSERT_NE(cpu::ErrorsOfFunctions(), nullptr);
  for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Language language(dtype);
    for (int tp : {1, 2, 3, 4}) {
      const Mesh mesh = Mesh::Create(tp, 1).value();
      const auto observed = Observe(*cpu::MakeCpuBackend({}), mesh, language.program(), sources);
      ASSERT_TRUE(observed.ok()) << observed.status().ToString();
      for (const OpByOpOptions& options : {everything, sample}) {
        const auto report = VerifyOpByOp(language.program(), mesh, *observed, options);
        ASSERT_TRUE(report.ok()) << report.status().ToString();
        EXPECT_EQ(report->outcome(), Outcome::kOk) << "tp " << tp << "\n" << ToString(*report);
        EXPECT_GT(report->worst_ratio(), 0.1);
      }
    }
  }
}

TEST(OpByOpParts, SayThatNothingIsKnownOfFunctions) {
  const RandomTensor random(/*seed=*/3, /*stream=*/0);
  const auto numbers = [&](int64_t i) { return random.Uniform(static_cast<uint64_t>(i)); };
  const Language language(DType::kFloat32);
  const Mesh mesh = Mesh::Create(2, 1).value();
  const auto observed =
      Observe(*cpu::MakeCpuBackend({}), mesh, language.program(),
              {{"ids", [](int64_t) { return 1.0; }}, {"x", numbers}, {"logits", numbers}});
  ASSERT_TRUE(observed.ok()) << observed.status().ToString();
  const auto report = VerifyOpByOp(language.program(), mesh, *observed, {.full = true});
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_EQ(report->outcome(), Outcome::kUndecided);
  EXPECT_NE(ToString(*report).find("nobody has worked out how far exp"), std::string::npos)
      << ToString(*report);
}

}  // namespace
}  // namespace tp::verify
