#include "tp/verify/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "tp/verify/diagnose.h"
#include "tp/verify/exact.h"
#include "tp/verify/owners.h"

namespace tp::verify {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double Value(const Observed& observed, Quantity quantity, int64_t index) {
  return quantity == Quantity::kLoss ? observed.losses[index] : observed.Of(quantity).At(index);
}

Status CheckShapes(const LinearProblem& problem, const Observed& observed) {
  for (Quantity quantity : kAllQuantities) {
    if (!observed.Has(quantity)) continue;
    const Shape shape = quantity == Quantity::kLoss
                            ? Shape{static_cast<int64_t>(observed.losses.size())}
                            : observed.Of(quantity).shape();
    if (shape == ShapeOf(quantity, problem)) continue;
    return InvalidArgument(fmt::format("the observed {} has shape {}, the problem's {}",
                                       Name(quantity), tp::ToString(shape),
                                       tp::ToString(ShapeOf(quantity, problem))));
  }
  return OkStatus();
}

// In units of the bound.
double Ratio(double error, double bound) {
  if (!std::isfinite(error)) return kInfinity;
  if (error == 0 || std::isinf(bound)) return 0;
  return bound > 0 ? error / bound : kInfinity;
}

// The root mean square of what is finite, or the smallest normal number where that is 0.
double SizeOfAll(const std::vector<double>& values, DType dtype) {
  double largest = 0;
  for (double value : values) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  if (largest == 0) return MinNormal(dtype);
  double squares = 0;
  double count = 0;
  for (double value : values) {
    if (!std::isfinite(value)) continue;
    squares += (value / largest) * (value / largest);
    ++count;
  }
  return largest * std::sqrt(squares / count);
}

QuantityReport Start(Quantity quantity, const LinearProblem& problem, bool given) {
  QuantityReport report;
  report.quantity = quantity;
  report.shape = ShapeOf(quantity, problem);
  report.total = NumElements(report.shape);
  report.given = given;
  return report;
}

Outcome OutcomeOf(double observed, double error, double bound, double size) {
  const bool beyond = std::isfinite(bound) && !(error <= bound);
  if (!std::isfinite(observed) || beyond) return Outcome::kFail;
  return bound <= size ? Outcome::kOk : Outcome::kUndecided;
}

// Fills in everything about one quantity but its causes, from `value(index)`; returns the places in
// `elements` that fail. `size` is that of what is judged.
template <typename ValueOf>
std::vector<size_t> Judge(const ExpectedElements& elements, double size, const NumericModel& model,
                          const ValueOf& value, QuantityReport* report) {
  std::vector<size_t> failing;
  report->checked = static_cast<int64_t>(elements.index.size());
  report->size = size;
  Outcome gravest = Outcome::kOk;
  double most = 0;  // of what says which element is the worst, among those with that outcome
  for (size_t i = 0; i < elements.index.size(); ++i) {
    const double observed = value(elements.index[i]);
    const double error = std::abs(observed - elements.value[i]);
    const double bound = elements.bound[i];
    const Outcome outcome = OutcomeOf(observed, error, bound, size);
    if (outcome == Outcome::kFail) failing.push_back(i);
    if (outcome == Outcome::kUndecided) ++report->undecided;
    const double ratio = Ratio(error, bound);
    const double key = outcome != Outcome::kUndecided ? ratio
                       : std::isnan(bound)            ? kInfinity
                                                      : bound;
    if (i > 0 && (outcome < gravest || (outcome == gravest && key <= most))) continue;
    gravest = outcome;
    most = key;
    report->worst_index = elements.index[i];
    report->observed = observed;
    report->expected = elements.value[i];
    report->error = error;
    report->bound = bound;
    report->ratio = ratio;
  }
  report->failing = static_cast<int64_t>(failing.size());
  if (!failing.empty()) report->first_failing = elements.index[failing[0]];
  if (report->quantity != Quantity::kLoss) {
    report->owners = OwnersOf(report->quantity, model, report->shape, report->worst_index);
  }
  if (report->undecided > 0) {
    report->notes.push_back(fmt::format(
        "undecided in {} elements: rounding alone could take them further than {:.3g}, the root "
        "mean square of what is judged",
        report->undecided, size));
  }
  return failing;
}

// The type in which a quantity comes.
DType TypeOf(Quantity quantity, const NumericModel& model) {
  return quantity == Quantity::kLoss ? AccumulatorOf(model.dtype) : model.dtype;
}

std::string CoverageOf(const Sample& sample, const LinearProblem& problem) {
  if (sample.full) return "all of it";
  return fmt::format("{} of {} features and {} of {} tokens, whole, with every shard border",
                     sample.features.size(), problem.out_features(), sample.rows.size(),
                     problem.tokens());
}

// What `quantity` is made of, where that is a quantity too.
std::optional<Quantity> MadeOf(Quantity quantity) {
  switch (quantity) {
    case Quantity::kY:
      return std::nullopt;
    case Quantity::kW:
      return Quantity::kDw;
    case Quantity::kB:
      return Quantity::kDb;
    default:
      return Quantity::kY;
  }
}

Status Conclude(Report* report) {
  int64_t checked = 0;
  for (const QuantityReport& quantity : report->quantities) checked += quantity.checked;
  if (checked == 0) return InvalidArgument("nothing to compare: no result was given");
  // A loss after the first is made of weights that the first step's gradients have changed.
  QuantityReport& loss = report->quantities[static_cast<size_t>(Quantity::kLoss)];
  const bool later = loss.failing > 0 && loss.first_failing > 0;
  for (const QuantityReport& quantity : report->quantities) {
    if (quantity.failing == 0) continue;
    const bool gradient = quantity.quantity == Quantity::kDw || quantity.quantity == Quantity::kDb;
    if (later && gradient && !loss.follows_from) loss.follows_from = quantity.quantity;
    const bool first =
        !report->first_divergence ||
        (later && report->first_divergence == Quantity::kLoss && quantity.quantity < Quantity::kW);
    if (first) report->first_divergence = quantity.quantity;
  }
  if (loss.follows_from) loss.causes.clear();
  return OkStatus();
}

// Without all of Y the reference has no loss; but the loss has to fit the Y that was observed.
ExpectedElements LossOfObserved(const LinearProblem& problem, const Expectation& expectation,
                                const Observed& observed, Lane lane) {
  LossSum sum;
  for (int64_t i = 0; i < observed.y.size(); ++i) {
    sum.Add(observed.y.At(i) - problem.targets.At(i), 0);
  }
  const bool exact = lane == Lane::kExact && LossIsExact(problem, observed.y);
  ExpectedElements elements;
  elements.index = {0};
  elements.value = {problem.scale() * sum.squares()};
  elements.bound = {exact ? 0 : sum.Bound(expectation.errors)};
  return elements;
}

StatusOr<Report> CompareInLane(const LinearProblem& problem, const Expectation& expectation,
                               const Observed& observed, Lane lane) {
  TP_RETURN_IF_ERROR(CheckShapes(problem, observed));
  Report report;
  report.title = "against the reference: " + ToString(expectation.model);
  report.lane = lane;
  report.coverage = CoverageOf(expectation.sample, problem);
  for (Quantity quantity : kAllQuantities) {
    QuantityReport entry = Start(quantity, problem, observed.Has(quantity));
    const bool sampled_loss = quantity == Quantity::kLoss && !expectation.sample.full;
    if (sampled_loss && entry.given) {
      entry.notes.push_back(
          observed.Has(Quantity::kY)
              ? "of the first step, against the observed Y; later ones not checked"
              : "not checked: it takes all of Y");
    }
    const bool checkable = entry.given && (!sampled_loss || observed.Has(Quantity::kY));
    if (checkable) {
      const ExpectedElements of_observed =
          sampled_loss ? LossOfObserved(problem, expectation, observed, lane) : ExpectedElements();
      const ExpectedElements& elements = sampled_loss ? of_observed : expectation.Of(quantity);
      const std::vector<size_t> failing = Judge(
          elements, SizeOfAll(elements.value, TypeOf(quantity, expectation.model)),
          expectation.model, [&](int64_t index) { return Value(observed, quantity, index); },
          &entry);
      const std::optional<Quantity> parent = MadeOf(quantity);
      const bool follows = parent && report.Of(*parent).failing > 0 && !sampled_loss;
      if (entry.failing > 0 && follows) entry.follows_from = parent;
      if (entry.failing > 0 && !follows) {
        entry.causes = Diagnose({.problem = problem,
                                 .model = expectation.model,
                                 .observed = observed,
                                 .quantity = quantity,
                                 .elements = elements,
                                 .failing = failing});
      }
    }
    report.quantities.push_back(std::move(entry));
  }
  TP_RETURN_IF_ERROR(Conclude(&report));
  return report;
}

std::vector<int64_t> Union(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  std::vector<int64_t> all;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all));
  return all;
}

}  // namespace

StatusOr<Report> Compare(const LinearProblem& problem, const Expectation& expectation,
                         const Observed& observed) {
  return CompareInLane(problem, expectation, observed, Lane::kBounded);
}

StatusOr<Report> VerifyLinear(const LinearProblem& problem, const Observed& observed,
                              const NumericModel& model, const VerifyOptions& options) {
  TP_RETURN_IF_ERROR(Validate(problem));
  TP_RETURN_IF_ERROR(Validate(model));
  const Sample sample = ChooseSample(problem, model.tp, model.dp, options.sample);
  TP_ASSIGN_OR_RETURN(Expectation expectation, Expect(problem, model, sample));
  if (options.lane == Lane::kExact) {
    TP_RETURN_IF_ERROR(CheckExact(problem, sample));
    for (ExpectedElements& elements : expectation.elements) {
      std::fill(elements.bound.begin(), elements.bound.end(), 0.0);
    }
  }
  return CompareInLane(problem, expectation, observed, options.lane);
}

StatusOr<Report> CompareRuns(const LinearProblem& problem, const NamedRun& a, const NamedRun& b,
                             const VerifyOptions& options) {
  TP_RETURN_IF_ERROR(Validate(problem));
  TP_RETURN_IF_ERROR(CheckShapes(problem, *a.observed));
  TP_RETURN_IF_ERROR(CheckShapes(problem, *b.observed));
  TP_RETURN_IF_ERROR(Validate(a.model));
  TP_RETURN_IF_ERROR(Validate(b.model));
  const Sample sample_a = ChooseSample(problem, a.model.tp, a.model.dp, options.sample);
  const Sample sample_b = ChooseSample(problem, b.model.tp, b.model.dp, options.sample);
  const Sample sample{.features = Union(sample_a.features, sample_b.features),
                      .rows = Union(sample_a.rows, sample_b.rows),
                      .full = sample_a.full || sample_b.full};
  TP_ASSIGN_OR_RETURN(const Expectation expected_a, Expect(problem, a.model, sample));
  TP_ASSIGN_OR_RETURN(const Expectation expected_b, Expect(problem, b.model, sample));
  Report report;
  report.title = a.name + " against " + b.name;
  report.lane = options.lane;
  report.coverage = CoverageOf(sample, problem);
  for (Quantity quantity : kAllQuantities) {
    const bool given = a.observed->Has(quantity) && b.observed->Has(quantity);
    QuantityReport entry = Start(quantity, problem, given);
    ExpectedElements elements = expected_a.Of(quantity);
    if (given && quantity == Quantity::kLoss && !sample.full) {
      entry.notes.push_back("not checked: it takes all of Y");
    } else if (given) {
      const double size = SizeOfAll(elements.value, TypeOf(quantity, a.model));
      for (size_t i = 0; i < elements.index.size(); ++i) {
        elements.value[i] = Value(*b.observed, quantity, elements.index[i]);
        elements.bound[i] =
            options.lane == Lane::kExact ? 0 : elements.bound[i] + expected_b.Of(quantity).bound[i];
      }
      Judge(
          elements, size, a.model,
          [&](int64_t index) { return Value(*a.observed, quantity, index); }, &entry);
    }
    report.quantities.push_back(std::move(entry));
  }
  TP_RETURN_IF_ERROR(Conclude(&report));
  return report;
}

}  // namespace tp::verify
