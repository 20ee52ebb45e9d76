// The reference itself: against a few numbers worked out by hand, and its gradients against finite
// differences.

#include "tp/verify/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/verify/simulated_step.h"
#include "tp/verify/expectation.h"

namespace tp::verify {
namespace {

HostTensor Tensor(const Shape& shape, const std::vector<double>& values,
                  DType dtype = DType::kFloat64) {
  HostTensor tensor(shape, dtype);
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.Set(i, values[i]);
  return tensor;
}

TEST(Reference, IsTheStepByHand) {
  LinearProblem problem;
  problem.x = Tensor({2, 2}, {1, 2, 3, 4});
  problem.w = Tensor({3, 2}, {1, 0, 0, 1, 1, -1});
  problem.b = Tensor({3}, {10, 20, 30});
  problem.targets = Tensor({2, 3}, {10, 21, 28, 12, 24, 30});
  problem.loss_scale = 0.5;  // dY = Y - T
  problem.learning_rate = 0.5;
  problem.steps = 2;
  const LinearResult result = RunReference(problem).value();
  EXPECT_THAT(result.y, testing::ElementsAre(11, 22, 29, 13, 24, 29));
  // dY = [[1, 1, 1], [1, 0, -1]]
  EXPECT_THAT(result.dx, testing::ElementsAre(2, 0, 0, 1));
  EXPECT_THAT(result.dw, testing::ElementsAre(4, 6, 1, 2, -2, -2));
  EXPECT_THAT(result.db, testing::ElementsAre(2, 1, 0));
  EXPECT_EQ(result.losses[0], 2.5);
  // Step 1 from W = [[-1, -3], [-0.5, 0], [2, 0]], b = [9, 19.5, 30]:
  // Y = [[2, 19, 32], [-6, 18, 36]], Y - T = [[-8, -2, 4], [-18, -6, 6]]
  EXPECT_EQ(result.losses[1], 0.5 * (64 + 4 + 16 + 324 + 36 + 36));
  EXPECT_THAT(result.w, testing::ElementsAre(30, 41, 9.5, 14, -9, -16));
  EXPECT_THAT(result.b, testing::ElementsAre(22, 23.5, 25));
}

TEST(Reference, LossIsTheMeanUnlessGiven) {
  LinearProblem problem = RandomProblem({.tokens = 4, .in_features = 3, .out_features = 5});
  EXPECT_EQ(problem.scale(), 1.0 / 20);
  problem.loss_scale = 2;
  EXPECT_EQ(problem.scale(), 2);
}

// (L(p + h) - L(p - h)) / 2h is the exact derivative of a quadratic, up to the rounding of both
// losses, which is known. h is a power of two and the inputs have few bits, so p + h and p - h are
// exact.
void CheckDerivatives(const LinearProblem& problem, HostTensor* parameter, Quantity gradient) {
  constexpr double kStep = 0.25;
  const NumericModel model = MakeModel(DType::kFloat64, Mode::kRow, 1, 1);
  const Sample all = ChooseSample(problem, 1, 1, {.full = true});
  const Expectation expected = Expect(problem, model, all).value();
  const ExpectedElements& gradients = expected.Of(gradient);
  ASSERT_EQ(static_cast<int64_t>(gradients.value.size()), parameter->size());
  const auto loss_at = [&](int64_t i, double value) {
    const double before = parameter->At(i);
    parameter->Set(i, value);
    EXPECT_EQ(parameter->At(i), value);
    const Expectation moved = Expect(problem, model, all).value();
    parameter->Set(i, before);
    return std::pair(moved.Of(Quantity::kLoss).value[0], moved.Of(Quantity::kLoss).bound[0]);
  };
  double largest = 0;
  for (int64_t i = 0; i < parameter->size(); ++i) {
    const auto [above, above_bound] = loss_at(i, parameter->At(i) + kStep);
    const auto [below, below_bound] = loss_at(i, parameter->At(i) - kStep);
    const double derivative = (above - below) / (2 * kStep);
    const double bound = (above_bound + below_bound) / (2 * kStep) + gradients.bound[i];
    EXPECT_LE(std::abs(derivative - gradients.value[i]), bound) << "element " << i;
    largest = std::max(largest, std::abs(gradients.value[i]));
    EXPECT_LT(bound, std::abs(largest));  // or it would show nothing
  }
}

TEST(Reference, GradientsAreFiniteDifferences) {
  LinearProblem problem =
      RandomProblem({.tokens = 5, .in_features = 7, .out_features = 4, .seed = 11});
  // Few bits, held in double.
  const auto widen = [](const HostTensor& tensor) {
    return Tensor(tensor.shape(), tensor.ToDoubles(), DType::kFloat64);
  };
  problem.x = widen(problem.x);
  problem.targets = widen(problem.targets);
  problem.w = widen(problem.w);
  problem.b = widen(problem.b);
  CheckDerivatives(problem, &problem.x, Quantity::kDx);
  CheckDerivatives(problem, &problem.w, Quantity::kDw);
  CheckDerivatives(problem, &problem.b, Quantity::kDb);
}

// Cutting a contraction changes no value beyond rounding; the shares are those of the ranks.
TEST(Reference, SharesAreTheRanksPartialSums) {
  LinearProblem problem;
  problem.x = Tensor({1, 4}, {1, 2, 3, 4});
  problem.w = Tensor({1, 4}, {1, -1, 1, 1});
  problem.b = Tensor({1}, {0});
  problem.targets = Tensor({1, 1}, {0});
  const ReferenceInputs inputs(problem);
  const int64_t feature = 0;
  FeatureReference reference(inputs, {.y = 3}, std::span(&feature, 1));
  reference.Compute();
  EXPECT_EQ(reference.product().value[0][0], 6);
  EXPECT_EQ(reference.product().shares[0][0], 1 + 3 + 4);  // |1 - 2| + |3| + |4|
}

TEST(Reference, RefusesWhatCannotBeChecked) {
  const LinearProblem good = RandomProblem({.tokens = 2, .in_features = 3, .out_features = 4});
  ASSERT_TRUE(Validate(good).ok());
  LinearProblem bad = good;
  bad.b = HostTensor({3}, DType::kFloat32);
  EXPECT_THAT(Validate(bad).message(), testing::HasSubstr("b has shape [3]"));
  bad = good;
  bad.x.Set(4, std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(Validate(bad).message(), testing::HasSubstr("x holds nan at element 4"));
  bad = good;
  bad.steps = 0;
  EXPECT_FALSE(Validate(bad).ok());
  bad = good;
  bad.learning_rate = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(Validate(bad).ok());
  bad = good;
  bad.x = HostTensor({0, 3}, DType::kFloat32);
  EXPECT_FALSE(Validate(bad).ok());
  EXPECT_FALSE(Validate(LinearProblem()).ok());
  EXPECT_FALSE(RunReference(LinearProblem()).ok());
}

}  // namespace
}  // namespace tp::verify
