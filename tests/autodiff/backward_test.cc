#include "tp/autodiff/backward.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/program/programs.h"
#include "tests/schedule/interpreter.h"
#include "tp/model/linear_step.h"
#include "tp/ops/ops.h"

namespace tp {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr Phase kForward = Phase::kForward;

Source Integers(int64_t salt) {
  return [salt](int64_t i) { return static_cast<double>((i * 5 + salt) % 7 - 3); };
}

// Appends an mse_loss of y against an input "t" that lies as y does.
ValueId AddLoss(Program& program, ValueId y) {
  const Value& value = program.value(y);
  const ValueId t = Input(program, "t", value.shape, value.placements, value.dtype);
  return AddMseLoss(program, kForward, "loss", y, t, 0.5).value();
}

TEST(Collectives, OfTheStepsAreThoseOfTheirModes) {
  const Mesh mesh = Mesh::Create(2, 2).value();
  LinearStepOptions options;
  options.optimize = false;
  options.mode = LinearMode::kRow;
  EXPECT_THAT(Redistributes(MakeLinearStep(options, mesh).value()),
              ElementsAre("forward y: tp Shard(1) -> Replicate",          // all-gather
                          "backward dy.shard: tp Replicate -> Shard(1)",  // slice
                          "gradient_sync db: dp Partial -> Replicate",    // all-reduce
                          "backward dx: tp Partial -> Replicate",         // all-reduce
                          "gradient_sync dw: dp Partial -> Replicate"));  // all-reduce
  options.mode = LinearMode::kColumn;
  EXPECT_THAT(Redistributes(MakeLinearStep(options, mesh).value()),
              ElementsAre("forward x.shard: tp Replicate -> Shard(1)",  // slice
                          "forward xw: tp Partial -> Replicate",        // all-reduce
                          "gradient_sync db: dp Partial -> Replicate",  // all-reduce
                          "gradient_sync dw: dp Partial -> Replicate",  // all-reduce
                          "backward dx: tp Shard(1) -> Replicate"));    // all-gather
}

// The redistributes that the reverse pass adds to x -> redistribute -> x w -> loss, for one way to
// redistribute and to place w; dx is asked for.
std::vector<std::string> ReverseOf(Placement from, Placement to, Placement on_w) {
  Program program;
  const ValueId x = Input(program, "x", {6, 4}, On(Axis::kTp, from));
  const ValueId w = Parameter(program, "w", {4, 5}, On(Axis::kTp, on_w));
  const ValueId moved = AddRedistribute(program, kForward, "moved", x, Axis::kTp, to).value();
  ValueId y = AddMatMul(program, kForward, "y", moved, w, {}).value();
  if (IsPartial(program.value(y).placements[Axis::kTp])) {
    y = AddRedistribute(program, kForward, "whole", y, Axis::kTp, Replicate()).value();
  }
  const ValueId loss = AddLoss(program, y);
  const size_t forward = Redistributes(program).size();
  const std::vector<ValueId> gradients = AddBackward(program, loss, {x}).value();
  EXPECT_EQ(program.value(gradients[0]).placements, On(Axis::kTp, Dual(from)));
  EXPECT_TRUE(Verify(program).ok());
  const auto all = Redistributes(program);
  return {all.begin() + static_cast<std::ptrdiff_t>(forward), all.end()};
}

// The placement of the cotangent picks the reverse rule of an all-gather.
TEST(Redistribute, AnAllGatherIsReversedByASliceWhereRanksWorkAlike) {
  EXPECT_THAT(ReverseOf(Shard(0), Replicate(), Replicate()),
              ElementsAre("backward dx: tp Replicate -> Shard(0)"));
}

TEST(Redistribute, AnAllGatherIsReversedByAReduceScatterWhereRanksWorkApart) {
  EXPECT_THAT(ReverseOf(Shard(0), Replicate(), Shard(1)),
              ElementsAre("backward dx: tp Partial -> Shard(0)"));
}

TEST(Redistribute, ASliceIsReversedByAnAllGather) {
  EXPECT_THAT(ReverseOf(Replicate(), Shard(0), Replicate()),
              ElementsAre("backward dx: tp Shard(0) -> Replicate"));
  EXPECT_THAT(ReverseOf(Replicate(), Shard(1), Shard(0)),
              ElementsAre("backward dx: tp Shard(1) -> Replicate"));
}

TEST(Redistribute, AnAllToAllIsReversedByOne) {
  EXPECT_THAT(ReverseOf(Shard(1), Shard(0), Replicate()),
              ElementsAre("backward dx: tp Shard(0) -> Shard(1)"));
}

TEST(Redistribute, AReduceScatterIsReversedByAnAllGather) {
  EXPECT_THAT(ReverseOf(Partial(), Shard(0), Replicate()),
              ElementsAre("backward dx: tp Shard(0) -> Replicate"));
}

TEST(Redistribute, AnAllReduceIsReversedByNothingOrAnAllReduce) {
  EXPECT_THAT(ReverseOf(Partial(), Replicate(), Replicate()), ElementsAre());
  EXPECT_THAT(ReverseOf(Partial(), Replicate(), Shard(1)),
              ElementsAre("backward dx: tp Partial -> Replicate"));
}

// The gradient that is given stands for the loss behind it: what sum(y * dy) has.
TEST(Backward, StartsAtAGradientThatIsGiven) {
  Program program;
  const ValueId x = Input(program, "x", {6, 4}, On(Axis::kDp, Shard(0)));
  const ValueId w = Parameter(program, "w", {4, 5}, On(Axis::kTp, Shard(1)));
  const ValueId y = AddMatMul(program, kForward, "y", x, w, {}).value();
  const ValueId dy = Input(program, "dy", {6, 5}, program.value(y).placements);
  const ValueId whole = Input(program, "whole", {6, 5});
  const ValueId narrow = Input(program, "narrow", {6, 4}, program.value(y).placements);
  const ValueId wide = Input(program, "wide", {6, 5}, program.value(y).placements, DType::kFloat64);
  for (ValueId other : {whole, narrow, wide}) {
    Program copy = program;
    EXPECT_THAT(AddBackwardFrom(copy, y, other, {x}).status().message(),
                HasSubstr("does not lie as the gradient of 'y'"));
  }
  ASSERT_TRUE(AddBackwardFrom(program, y, dy, {x, w}).ok());
  EXPECT_TRUE(Verify(program).ok());
  EXPECT_THAT(Redistributes(program), ElementsAre("backward dx: tp Partial -> Replicate",
                                                  "gradient_sync dw: dp Partial -> Replicate"));
  EXPECT_THAT(ToString(program), HasSubstr("matmul(dy, w^T)"));
}

// The whole gradient is asked for where the value is; where it is not, nothing is completed.
TEST(Backward, CompletesOnlyTheGradientsThatAreAskedFor) {
  Program program;
  const ValueId x = Input(program, "x", {6, 4}, On(Axis::kDp, Shard(0)));
  const ValueId v = Parameter(program, "v", {4, 4});
  const ValueId w = Parameter(program, "w", {4, 5}, On(Axis::kTp, Shard(1)));
  const ValueId h = AddMatMul(program, kForward, "h", x, v, {}).value();
  const ValueId y = AddMatMul(program, kForward, "y", h, w, {}).value();
  const ValueId loss = AddLoss(program, y);
  Program only_x = program;
  ASSERT_TRUE(AddBackward(only_x, loss, {x}).ok());
  EXPECT_THAT(Redistributes(only_x), ElementsAre("backward dx: tp Partial -> Replicate"));
  EXPECT_FALSE(only_x.Find("dw").ok());
  ASSERT_TRUE(AddBackward(program, loss, {v, w}).ok());
  EXPECT_THAT(Redistributes(program),
              ElementsAre("gradient_sync dw: dp Partial -> Replicate",
                          "gradient_sync dv.partial.2: tp Partial -> Replicate",
                          "gradient_sync dv: dp Partial -> Replicate"));
  EXPECT_FALSE(program.Find("dx").ok());
}

TEST(Backward, LeavesTheForwardAsItWas) {
  Program program;
  const ValueId x = Input(program, "x", {6, 4});
  const ValueId w = Parameter(program, "w", {4, 5});
  const ValueId y = AddMatMul(program, kForward, "y", x, w, {}).value();
  const ValueId loss = AddLoss(program, y);
  const std::string forward = ToString(program);
  ASSERT_TRUE(AddBackward(program, loss, {w, x}).ok());
  EXPECT_EQ(ToString(program).substr(0, forward.size()), forward);
  for (size_t i = 5; i < program.ops().size(); ++i) {
    EXPECT_EQ(program.ops()[i].phase, Phase::kBackward);
  }
}

TEST(Backward, SaysWhatItCannotDo) {
  Program program;
  const ValueId x = Input(program, "x", {4, 4});
  const ValueId w = Parameter(program, "w", {4, 4});
  const ValueId unused = Parameter(program, "unused", {4, 4});
  const ValueId y = AddMatMul(program, kForward, "y", x, w, {}).value();
  const ValueId loss = AddLoss(program, y);

  Program trial = program;
  EXPECT_EQ(AddBackward(trial, loss, {unused}).status().ToString(),
            "INVALID_ARGUMENT: the loss does not depend on 'unused'");
  EXPECT_EQ(AddBackward(trial, y, {w}).status().ToString(),
            "INVALID_ARGUMENT: 'y' is no scalar to start a gradient at");
}

// As z = y r of both outputs of a norm, whose rule knows the gradient of the first alone.
TEST(Backward, RefusesWhatARuleWouldLeaveOut) {
  Program program;
  const ValueId x = Parameter(program, "x", {2, 3});
  const ValueId gain = Parameter(program, "gain", {3});
  const std::vector<ValueId> norm = AddOp(program, kForward, std::vector<std::string>{"n", "r"},
                                          kRmsNorm, {x, gain}, {{"eps", 1e-5}})
                                        .value();
  const ValueId z =
      AddOp(program, kForward, "z", kMatMul, {norm[0], norm[1]}, {{"letters", "md,m -> md"}})
          .value();
  Program of_both = program;
  EXPECT_EQ(
      AddBackward(of_both, AddLoss(of_both, z), {x}).status().message(),
      "the loss depends on 'r' of rms_norm, whose reverse rule takes no gradient of output 1");
  Program of_second = program;
  EXPECT_EQ(
      AddBackward(of_second, AddLoss(of_second, norm[1]), {x}).status().message(),
      "the loss depends on 'r' of rms_norm, whose reverse rule takes no gradient of output 1");
  Program of_target = program;
  const ValueId y = Input(of_target, "y", {2, 3});
  const ValueId loss = AddMseLoss(of_target, kForward, "loss", y, norm[0], 0.5).value();
  EXPECT_EQ(AddBackward(of_target, loss, {x}).status().message(),
            "the reverse rule of mse_loss gives no gradient of 'n', its operand 1");
}

TEST(Backward, StartsAtLosses) {
  Program program;
  const ValueId x = Parameter(program, "x", {3});
  const ValueId w = Parameter(program, "w", {3});
  const ValueId dot =
      AddOp(program, kForward, "dot", kMatMul, {x, w}, {{"letters", "m,m -> "}}).value();
  const std::string no_start =
      "no gradient starts at 'dot' of matmul; AddBackwardFrom takes one as a value";
  Program of_dot = program;
  EXPECT_EQ(AddBackward(of_dot, dot, {x}).status().message(), no_start);
  const ValueId loss = AddLoss(program, x);
  const ValueId sum = AddOp(program, kForward, "sum", kAdd, {loss, dot}).value();
  Program of_sum = program;
  EXPECT_EQ(AddBackward(of_sum, sum, {x}).status().message(), no_start);
  const ValueId twice = AddOp(program, kForward, "twice", kAdd, {loss, loss}).value();
  EXPECT_EQ(AddBackward(program, twice, {x}).status().message(),
            "'loss' is a term of the loss, and read besides");
}

TEST(Backward, HasNoRuleForSums) {
  Program other;
  const ValueId z = Input(other, "z", {4, 5});
  const ValueId rows = AddSumRows(other, kForward, "rows", z).value();
  const ValueId base = Input(other, "base", {4, 5});
  const ValueId shifted = AddBias(other, kForward, "shifted", base, rows).value();
  const ValueId end = AddLoss(other, shifted);
  EXPECT_THAT(AddBackward(other, end, {z}).status().message(),
              HasSubstr("no reverse rule for sum_rows"));
}

// Holds the gradients of a loss that is quadratic in each value against central differences, which
// are then exact in double. Runs on three ranks.
void ExpectCentralDifferences(Program program, ValueId loss, const std::vector<std::string>& names,
                              const Sources& sources) {
  const Program forward = program;
  std::vector<ValueId> wrt;
  for (const std::string& name : names) wrt.push_back(program.Find(name).value());
  const auto gradients = AddBackward(program, loss, wrt);
  ASSERT_TRUE(gradients.ok()) << gradients.status().ToString();
  for (ValueId id : *gradients) program.AddResult(id);
  ASSERT_TRUE(Verify(program).ok()) << Verify(program).ToString();
  Interpreter interpreter(program, Mesh::Create(3, 1).value());
  interpreter.Fill(sources);
  ASSERT_EQ(interpreter.Step(1).ToString(), "OK");
  for (size_t n = 0; n < names.size(); ++n) {
    const auto gradient = interpreter.Read(program.value((*gradients)[n]).name);
    ASSERT_TRUE(gradient.ok()) << gradient.status().ToString();
    for (int64_t at = 0; at < static_cast<int64_t>(gradient->size()); ++at) {
      const auto loss_with = [&](double step) {
        Sources moved = sources;
        moved[names[n]] = [&, step](int64_t i) {
          return sources.at(names[n])(i) + (i == at ? step : 0);
        };
        return Evaluate(forward, moved)[loss][0];
      };
      EXPECT_EQ((*gradient)[at], (loss_with(1) - loss_with(-1)) / 2) << names[n] << " at " << at;
    }
  }
}

// A loss that is a sum of two, both Partial, one of which is a sum itself.
TEST(Backward, StartsAtEachTermOfASum) {
  Program program;
  const Placements shard = On(Axis::kTp, Shard(0));
  const ValueId x = Parameter(program, "x", {4, 3});
  const ValueId w = Parameter(program, "w", {5, 3}, shard);
  const ValueId y = AddMatMul(program, kForward, "y", x, w, {.transpose_b = true}).value();
  ValueId loss = -1;
  for (int i = 0; i < 3; ++i) {
    const std::string number = std::to_string(i);
    const ValueId t = Input(program, "t" + number, {4, 5}, On(Axis::kTp, Shard(1)));
    const ValueId term =
        AddMseLoss(program, kForward, "loss" + number, y, t, 0.5 * (i + 1)).value();
    loss = i == 0 ? term : AddOp(program, kForward, "sum" + number, kAdd, {loss, term}).value();
  }
  ExpectCentralDifferences(program, loss, {"x", "w"},
                           {{"x", Integers(0)},
                            {"w", Integers(1)},
                            {"t0", Integers(2)},
                            {"t1", Integers(3)},
                            {"t2", Integers(4)}});
}

// x is read by three products whose weights lie as those of q, k and v do.
TEST(Backward, AddsWhatIsPartialBeforeRanksSum) {
  Program program;
  const ValueId x = Input(program, "x", {4, 3});
  std::vector<ValueId> products;
  std::vector<std::string> names = {"x"};
  Sources sources = {{"x", Integers(0)}, {"t", Integers(5)}};
  for (const char* name : {"q", "k", "v"}) {
    names.push_back(std::string("w") + name);
    const ValueId w = Parameter(program, names.back(), {5, 3}, On(Axis::kTp, Shard(0)));
    sources[names.back()] = Integers(static_cast<int64_t>(names.size()));
    products.push_back(AddMatMul(program, kForward, name, x, w, {.transpose_b = true}).value());
  }
  const ValueId qk = AddOp(program, kForward, "qk", kAdd, {products[0], products[1]}).value();
  const ValueId qkv = AddOp(program, kForward, "qkv", kAdd, {qk, products[2]}).value();
  const ValueId y = AddRedistribute(program, kForward, "y", qkv, Axis::kTp, Replicate()).value();
  const ValueId loss = AddLoss(program, y);
  ExpectCentralDifferences(program, loss, names, sources);
  const ValueId dx = AddBackward(program, loss, {x}).value()[0];
  EXPECT_EQ(program.value(dx).name, "dx");
  EXPECT_THAT(Redistributes(program), ElementsAre("forward y: tp Shard(1) -> Replicate",
                                                  "backward dqkv: tp Replicate -> Shard(1)",
                                                  "backward dx: tp Partial -> Replicate"));
}

// Of x and x w one is whole and the other Partial; and both operands of the last sum are one value.
TEST(Backward, AddsContributionsThatLieApart) {
  Program program;
  const ValueId x = Parameter(program, "x", {4, 4});
  const ValueId w = Parameter(program, "w", {4, 4}, On(Axis::kTp, Shard(1)));
  const ValueId shard = AddMatMul(program, kForward, "shard", x, w, {}).value();
  const ValueId h = AddRedistribute(program, kForward, "h", shard, Axis::kTp, Replicate()).value();
  const ValueId once = AddOp(program, kForward, "once", kAdd, {h, x}).value();
  const ValueId loss = AddLoss(program, AddOp(program, kForward, "y", kAdd, {once, once}).value());
  ExpectCentralDifferences(program, loss, {"x", "w"},
                           {{"x", Integers(0)}, {"w", Integers(2)}, {"t", Integers(5)}});
}

// y = op(a) op(b) + bias, for each way to transpose and to lie, on three ranks.
struct MatMulCase {
  bool transpose_a, transpose_b;
  Placement on_a, on_b;  // of op(a) and op(b)
};

class Gradients : public testing::TestWithParam<MatMulCase> {
 protected:
  static Placement Stored(Placement p, bool transpose) {
    return IsShard(p) && transpose ? Shard(1 - p.dim) : p;
  }

  // The forward, up to a loss of the whole product.
  static ValueId AddForward(Program& program, const MatMulCase& c) {
    const ValueId a = Input(program, "a", c.transpose_a ? Shape{3, 4} : Shape{4, 3},
                            On(Axis::kTp, Stored(c.on_a, c.transpose_a)));
    const ValueId b = Parameter(program, "b", c.transpose_b ? Shape{5, 3} : Shape{3, 5},
                                On(Axis::kTp, Stored(c.on_b, c.transpose_b)));
    const ValueId product =
        AddMatMul(program, kForward, "product", a, b, {c.transpose_a, c.transpose_b}).value();
    const ValueId whole =
        AddRedistribute(program, kForward, "whole", product, Axis::kTp, Replicate()).value();
    const ValueId bias = Parameter(program, "bias", {5});
    return AddLoss(program, AddBias(program, kForward, "y", whole, bias).value());
  }
};

TEST_P(Gradients, AreCentralDifferencesOfTheLoss) {
  Program program;
  const ValueId loss = AddForward(program, GetParam());
  ExpectCentralDifferences(
      program, loss, {"a", "b", "bias"},
      {{"a", Integers(0)}, {"b", Integers(2)}, {"bias", Integers(4)}, {"t", Integers(5)}});
}

std::vector<MatMulCase> AllMatMuls() {
  std::vector<MatMulCase> cases;
  for (bool a : {false, true}) {
    for (bool b : {false, true}) {
      cases.push_back({a, b, Replicate(), Replicate()});
      cases.push_back({a, b, Shard(0), Replicate()});
      cases.push_back({a, b, Replicate(), Shard(1)});
      cases.push_back({a, b, Shard(1), Shard(0)});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(MatMuls, Gradients, testing::ValuesIn(AllMatMuls()));

}  // namespace
}  // namespace tp
