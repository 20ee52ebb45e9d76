#include "tp/verify/expectation.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

namespace tp::verify {
namespace {

// The next up to kPanelWidth entries of `all` from `first` on.
std::span<const int64_t> PanelOf(const std::vector<int64_t>& all, size_t first) {
  return std::span(all).subspan(first, std::min<size_t>(kPanelWidth, all.size() - first));
}

void Append(ExpectedElements* elements, int64_t index, double value, double bound) {
  elements->index.push_back(index);
  elements->value.push_back(value);
  elements->bound.push_back(bound);
}

void AddFeatures(const ReferenceInputs& inputs, std::span<const int64_t> features, int steps,
                 Expectation* expectation, std::vector<LossSum>* losses) {
  const int64_t in = inputs.in_features();
  FeatureReference reference(inputs, SplitsOf(expectation->model), features);
  FeatureErrors errors(inputs, expectation->errors);
  Panel previous_w;
  PanelRow previous_b = {};
  for (int step = 0; step < steps; ++step) {
    reference.Compute();
    errors.Compute(reference);
    for (size_t f = 0; f < features.size(); ++f) {
      for (int64_t m = 0; m < inputs.tokens(); ++m) {
        (*losses)[step].Add(reference.residual()[m][f], errors.y()[m][f]);
      }
      if (step > 0) continue;
      for (int64_t m = 0; m < inputs.tokens(); ++m) {
        Append(&expectation->Of(Quantity::kY), m * inputs.out_features() + features[f],
               reference.y()[m][f], errors.y()[m][f]);
      }
      for (int64_t k = 0; k < in; ++k) {
        Append(&expectation->Of(Quantity::kDw), features[f] * in + k, reference.dw().value[k][f],
               errors.dw()[k][f]);
      }
      Append(&expectation->Of(Quantity::kDb), features[f], reference.db()[f], errors.db()[f]);
    }
    if (step + 1 == steps) {
      previous_w = reference.w();
      previous_b = reference.b();
    }
    reference.Update();
    errors.Update(reference);
  }
  ExpectedElements& w = expectation->Of(Quantity::kW);
  ExpectedElements& b = expectation->Of(Quantity::kB);
  for (size_t f = 0; f < features.size(); ++f) {
    for (int64_t k = 0; k < in; ++k) {
      Append(&w, features[f] * in + k, reference.w()[k][f], errors.w()[k][f]);
      w.previous.push_back(previous_w[k][f]);
    }
    Append(&b, features[f], reference.b()[f], errors.b()[f]);
    b.previous.push_back(previous_b[f]);
  }
}

void AddRows(const ReferenceInputs& inputs, std::span<const int64_t> rows,
             Expectation* expectation) {
  const RowReference reference(inputs, SplitsOf(expectation->model), rows);
  const RowErrors errors(inputs, expectation->errors, reference);
  const std::vector<int64_t>& features = expectation->sample.features;
  for (size_t f = 0; f < rows.size(); ++f) {
    for (int64_t k = 0; k < inputs.in_features(); ++k) {
      Append(&expectation->Of(Quantity::kDx), rows[f] * inputs.in_features() + k,
             reference.dx().value[k][f], errors.dx[k][f]);
    }
    for (int64_t n = 0; n < inputs.out_features(); ++n) {
      if (std::binary_search(features.begin(), features.end(), n)) continue;  // there already
      Append(&expectation->Of(Quantity::kY), rows[f] * inputs.out_features() + n,
             reference.y()[n][f], errors.y[n][f]);
    }
  }
}

void SortByIndex(ExpectedElements* elements) {
  std::vector<size_t> order(elements->index.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return elements->index[a] < elements->index[b]; });
  ExpectedElements sorted;
  for (size_t i : order)
    Append(&sorted, elements->index[i], elements->value[i], elements->bound[i]);
  *elements = std::move(sorted);
}

// What the implementation multiplies by, in its accumulator's type.
Status CheckFactors(const LinearProblem& problem, const NumericModel& model) {
  const DType wide = AccumulatorOf(model.dtype);
  const std::pair<const char*, double> factors[] = {{"learning rate", problem.learning_rate},
                                                    {"loss scale", 2 * problem.scale()}};
  for (const auto& [name, factor] : factors) {
    if (std::abs(factor) <= MaxFinite(wide)) continue;
    return InvalidArgument(
        fmt::format("the {} is {:g}, beyond {:g}, the largest number of {}, in "
                    "which the step is computed",
                    name, factor, MaxFinite(wide), Name(wide)));
  }
  return OkStatus();
}

}  // namespace

std::string_view Name(Quantity quantity) {
  constexpr std::array<std::string_view, kAllQuantities.size()> kNames = {"Y",  "loss", "dX", "dW",
                                                                          "db", "W",    "b"};
  return kNames[static_cast<size_t>(quantity)];
}

Shape ShapeOf(Quantity quantity, const LinearProblem& problem) {
  switch (quantity) {
    case Quantity::kY:
      return {problem.tokens(), problem.out_features()};
    case Quantity::kLoss:
      return {problem.steps};
    case Quantity::kDx:
      return {problem.tokens(), problem.in_features()};
    case Quantity::kDw:
    case Quantity::kW:
      return {problem.out_features(), problem.in_features()};
    case Quantity::kDb:
    case Quantity::kB:
      return {problem.out_features()};
  }
  LOG(FATAL) << "no such quantity: " << static_cast<int>(quantity);
}

std::optional<size_t> ExpectedElements::Find(int64_t whole_index) const {
  const auto found = std::lower_bound(index.begin(), index.end(), whole_index);
  if (found == index.end() || *found != whole_index) return std::nullopt;
  return static_cast<size_t>(found - index.begin());
}

StatusOr<Expectation> Expect(const LinearProblem& problem, const NumericModel& model,
                             const Sample& sample) {
  TP_RETURN_IF_ERROR(Validate(problem));
  TP_RETURN_IF_ERROR(Validate(model));
  for (const HostTensor* tensor : {&problem.x, &problem.targets, &problem.w, &problem.b}) {
    if (tensor->dtype() == model.dtype) continue;
    return InvalidArgument(
        fmt::format("an input is {}, the run that is verified {}: round it first",
                    Name(tensor->dtype()), Name(model.dtype)));
  }
  TP_RETURN_IF_ERROR(CheckFactors(problem, model));
  const ReferenceInputs inputs(problem);
  Expectation expectation{.model = model,
                          .sample = sample,
                          .errors = ErrorModel(inputs, model, problem.steps),
                          .elements = {}};
  std::vector<LossSum> losses(problem.steps);
  for (size_t i = 0; i < sample.features.size(); i += kPanelWidth) {
    AddFeatures(inputs, PanelOf(sample.features, i), problem.steps, &expectation, &losses);
  }
  for (size_t i = 0; i < sample.rows.size(); i += kPanelWidth) {
    AddRows(inputs, PanelOf(sample.rows, i), &expectation);
  }
  SortByIndex(&expectation.Of(Quantity::kY));
  if (sample.full) {
    for (int step = 0; step < problem.steps; ++step) {
      Append(&expectation.Of(Quantity::kLoss), step, inputs.scale() * losses[step].squares(),
             losses[step].Bound(expectation.errors));
    }
  }
  return expectation;
}

}  // namespace tp::verify
