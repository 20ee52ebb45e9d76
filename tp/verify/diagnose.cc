#include "tp/verify/diagnose.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "tp/verify/hypotheses.h"
#include "tp/verify/owners.h"

namespace tp::verify {
namespace {

// A hypothesis is tried on this many wrong and this many right elements, evenly spread.
constexpr size_t kMostTried = 512;
constexpr size_t kMostCauses = 3;

double ObservedAt(const DiagnosisInput& input, size_t place) {
  const int64_t index = input.elements.index[place];
  return input.quantity == Quantity::kLoss ? input.observed.losses[index]
                                           : input.observed.Of(input.quantity).At(index);
}

template <typename T>
std::vector<T> Thin(const std::vector<T>& all) {
  if (all.size() <= kMostTried) return all;
  std::vector<T> some;
  for (size_t i = 0; i < kMostTried; ++i) some.push_back(all[i * all.size() / kMostTried]);
  return some;
}

std::vector<size_t> Passing(const DiagnosisInput& input) {
  std::vector<size_t> passing;
  size_t next = 0;
  for (size_t place = 0; place < input.elements.index.size(); ++place) {
    if (next < input.failing.size() && input.failing[next] == place) {
      ++next;
    } else {
      passing.push_back(place);
    }
  }
  return Thin(passing);
}

// Whether the hypothesis says something about at least one of these places, and is right about all
// that it says.
bool Explains(const DiagnosisInput& input, const Hypothesis& hypothesis,
              const std::vector<size_t>& places) {
  bool any = false;
  for (size_t place : places) {
    const std::optional<Guess> guess = hypothesis.guess(place);
    if (!guess) continue;
    if (!(std::abs(ObservedAt(input, place) - guess->value) <= guess->bound)) return false;
    any = true;
  }
  return any;
}

// NaN and infinity explain themselves.
std::optional<std::string> NotFinite(const DiagnosisInput& input) {
  const DType dtype =
      input.quantity == Quantity::kLoss ? AccumulatorOf(input.model.dtype) : input.model.dtype;
  int64_t nan = 0;
  int64_t infinite = 0;
  double largest = 0;
  for (size_t place : input.failing) {
    const double value = ObservedAt(input, place);
    nan += std::isnan(value);
    infinite += std::isinf(value);
    largest =
        std::max(largest, std::abs(input.elements.value[place]) + input.elements.bound[place]);
  }
  if (nan + infinite == 0) return std::nullopt;
  if (!(largest <= MaxFinite(dtype))) {
    return fmt::format(
        "{} overflows: magnitudes up to {:.3g} are possible here, its largest number "
        "is {:.3g}; a smaller learning rate, loss scale or wider type is needed",
        Name(dtype), largest, MaxFinite(dtype));
  }
  return fmt::format(
      "{} NaN and {} infinite elements where the reference is finite: read before it "
      "was written, or an overflow on the way",
      nan, infinite);
}

// Where all wrong elements lie, if that is one coordinate of an axis.
std::vector<std::string> Location(const DiagnosisInput& input) {
  std::vector<std::string> places;
  if (input.quantity == Quantity::kLoss) return places;
  const Shape shape = ShapeOf(input.quantity, input.problem);
  for (Axis axis : kDefaultAxes) {
    if ((axis == Axis::kTp ? input.model.tp : input.model.dp) == 1) continue;
    std::set<std::optional<int>> owners;
    for (size_t place : input.failing) {
      owners.insert(
          OwnerCoordinate(input.quantity, input.model, axis, shape, input.elements.index[place]));
    }
    if (owners.size() != 1 || !owners.begin()->has_value()) continue;
    places.push_back(fmt::format("all {} wrong elements belong to {} rank {}", input.failing.size(),
                                 Name(axis), **owners.begin()));
  }
  return places;
}

}  // namespace

std::vector<std::string> Diagnose(const DiagnosisInput& input) {
  std::vector<std::string> causes;
  if (const std::optional<std::string> cause = NotFinite(input)) {
    causes.push_back(*cause);
  } else {
    const std::vector<size_t> wrong = Thin(input.failing);
    const std::vector<size_t> right = Passing(input);
    std::vector<std::string> partial;
    for (const Hypothesis& hypothesis :
         input.quantity == Quantity::kLoss ? LossHypotheses(input) : TensorHypotheses(input)) {
      if (!Explains(input, hypothesis, wrong)) continue;
      const bool everywhere = right.empty() || Explains(input, hypothesis, right);
      (everywhere ? causes : partial).push_back(hypothesis.cause);
    }
    // A mistake that also fits the right elements beats one that only fits the wrong ones.
    for (const std::string& cause : partial) causes.push_back(cause + " (in some elements only)");
    if (causes.size() > kMostCauses) causes.resize(kMostCauses);
  }
  for (std::string& place : Location(input)) causes.push_back(std::move(place));
  return causes;
}

}  // namespace tp::verify
