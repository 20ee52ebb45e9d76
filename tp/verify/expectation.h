// Expectation: what the verified elements of a step should be, and by how much they may differ.
//
// It is made from the problem and the arithmetic alone, before any result is looked at, so that one
// expectation can judge several results.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "tp/verify/bounds.h"
#include "tp/verify/errors.h"
#include "tp/verify/reference.h"
#include "tp/verify/sample.h"

namespace tp::verify {

// In program order.
enum class Quantity { kY, kLoss, kDx, kDw, kDb, kW, kB };
inline constexpr std::array<Quantity, 7> kAllQuantities = {
    Quantity::kY,  Quantity::kLoss, Quantity::kDx, Quantity::kDw,
    Quantity::kDb, Quantity::kW,    Quantity::kB};
std::string_view Name(Quantity quantity);  // "Y", "loss", "dX", "dW", "db", "W", "b"

// Shape of the whole quantity: Y [M, N], dX [M, K], dW and W [N, K], db and b [N], loss [steps].
Shape ShapeOf(Quantity quantity, const LinearProblem& problem);

// The expected elements of one quantity, ascending by row-major index into the whole tensor.
struct ExpectedElements {
  std::vector<int64_t> index;
  std::vector<double> value;
  std::vector<double> bound;
  // Of W and b: the value one step earlier, for the diagnosis.
  std::vector<double> previous;

  // The place of element `whole_index` in these lists, if it is among them.
  std::optional<size_t> Find(int64_t whole_index) const;
};

struct Expectation {
  NumericModel model;
  Sample sample;
  ErrorModel errors;
  std::array<ExpectedElements, kAllQuantities.size()> elements;

  const ExpectedElements& Of(Quantity quantity) const {
    return elements[static_cast<size_t>(quantity)];
  }
  ExpectedElements& Of(Quantity quantity) { return elements[static_cast<size_t>(quantity)]; }
};

// The losses are there only if the sample is full: they need all of Y.
// Errors: an invalid problem or model, a learning rate or loss scale that the accumulator can't
// hold.
StatusOr<Expectation> Expect(const LinearProblem& problem, const NumericModel& model,
                             const Sample& sample);

}  // namespace tp::verify
