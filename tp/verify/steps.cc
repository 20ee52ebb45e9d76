#include "tp/verify/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace tp::verify {
namespace {

bool IsFinite(const HostTensor& tensor) {
  for (int64_t i = 0; i < tensor.size(); ++i) {
    if (!std::isfinite(tensor.At(i))) return false;
  }
  return true;
}

// A step that starts from what is no number: there is no reference to hold it against.
Report NothingToHold(const LinearProblem& problem, const ObservedStep& step) {
  Report report;
  for (Quantity quantity : kAllQuantities) {
    QuantityReport entry;
    entry.quantity = quantity;
    entry.shape = ShapeOf(quantity, problem);
    entry.given = step.result.Has(quantity);
    entry.total = NumElements(entry.shape);
    entry.undecided = entry.given ? entry.total : 0;
    report.quantities.push_back(std::move(entry));
  }
  return report;
}

// How far the worst element is from being what it should be, among reports of one outcome.
double Gravity(const QuantityReport& report) {
  return report.outcome() == Outcome::kUndecided ? report.bound / report.size : report.ratio;
}

// Adds one step's part to that of the steps before it.
void Merge(const QuantityReport& part, QuantityReport* all) {
  QuantityReport sum = *all;
  const bool graver = part.outcome() > all->outcome() ||
                      (part.outcome() == all->outcome() && Gravity(part) > Gravity(*all));
  if (part.checked > 0 && (graver || all->checked == 0)) sum = part;
  sum.checked = all->checked + part.checked;
  sum.total = all->total + part.total;
  sum.failing = all->failing + part.failing;
  sum.undecided = all->undecided + part.undecided;
  *all = std::move(sum);
}

// The steps that were held, of how many; `of_one` is how much of each.
std::string CoverageOf(const std::vector<int>& held, size_t asked, int of_steps,
                       const std::string& of_one) {
  constexpr size_t kMostNamed = 12;
  std::string names;
  for (size_t i = 0; i < std::min(held.size(), kMostNamed); ++i) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", held[i]);
  }
  if (held.size() > kMostNamed) names += fmt::format(", ... {}", held.back());
  std::string text = held.empty()
                         ? fmt::format("0 of {} steps", of_steps)
                         : fmt::format(
                               "{} of {} steps ({}), each from the weights that it started "
                               "with; {}",
                               held.size(), of_steps, names, of_one);
  if (held.size() < asked) {
    text +=
        fmt::format("; {} more start from weights that are no finite numbers", asked - held.size());
  }
  return text;
}

}  // namespace

StatusOr<Report> VerifySteps(const LinearProblem& problem, const std::vector<ObservedStep>& steps,
                             const NumericModel& model, const SampleOptions& options) {
  if (steps.empty()) return InvalidArgument("no step to verify");
  LinearProblem one = problem;
  one.steps = 1;
  SampleOptions sample = options;
  sample.max_multiply_adds /= static_cast<double>(steps.size());
  Report all;
  std::vector<int> held;
  std::string of_one;
  for (const ObservedStep& step : steps) {
    Report report = NothingToHold(one, step);
    if (IsFinite(step.w) && IsFinite(step.b)) {
      one.w = step.w;
      one.b = step.b;
      StatusOr<Report> verified =
          VerifyLinear(one, step.result, model, {.lane = Lane::kBounded, .sample = sample});
      if (!verified.ok()) return verified.status().WithContext(fmt::format("step {}", step.step));
      report = *std::move(verified);
      held.push_back(step.step);
      of_one = report.coverage;
    }
    for (QuantityReport& quantity : report.quantities) {
      if (!quantity.notes.empty() || quantity.failing > 0) {
        quantity.notes.push_back(fmt::format("of step {}", step.step));
      }
    }
    if (!all.first_divergence) all.first_divergence = report.first_divergence;
    if (all.quantities.empty()) {
      all.quantities = std::move(report.quantities);
      continue;
    }
    for (Quantity quantity : kAllQuantities) {
      Merge(report.Of(quantity), &all.quantities[static_cast<size_t>(quantity)]);
    }
  }
  all.title = "step by step: " + ToString(model);
  all.coverage = CoverageOf(held, steps.size(), problem.steps, of_one);
  return all;
}

}  // namespace tp::verify
