#include "tp/verify/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <glog/logging.h>

namespace tp::verify {
namespace {

constexpr std::string_view kLine = "  {:<8} {:>23} {:>14} {:>15} {:>15} {:>10} {:>10} {:>11}  {}\n";

std::string Ranks(const std::vector<int>& owners) {
  constexpr size_t kMost = 8;
  if (owners.size() <= kMost) return fmt::format("{}", fmt::join(owners, ","));
  return fmt::format("{},... ({} ranks)", fmt::join(owners.begin(), owners.begin() + kMost, ","),
                     owners.size());
}

std::string Line(const QuantityReport& report) {
  const std::string checked = report.checked == report.total
                                  ? fmt::format("all {}", report.total)
                                  : fmt::format("{} of {}", report.checked, report.total);
  if (report.checked == 0) {
    return fmt::format(fmt::runtime(kLine), Name(report.quantity),
                       report.given ? checked : "not given", "", "", "", "", "", "", "not checked");
  }
  std::string verdict(Name(report.outcome()));
  if (report.failing > 0) {
    verdict += fmt::format(": {} elements", report.failing);
    if (!report.owners.empty()) {
      verdict += fmt::format(", worst made by rank {}", Ranks(report.owners));
    }
  } else if (report.undecided > 0) {
    verdict += fmt::format(": {} elements, of size {:.2e}", report.undecided, report.size);
  }
  return fmt::format(fmt::runtime(kLine), Name(report.quantity), checked,
                     ElementName(report.shape, report.worst_index),
                     fmt::format("{:.8g}", report.observed), fmt::format("{:.8g}", report.expected),
                     fmt::format("{:.2e}", report.error), fmt::format("{:.2e}", report.bound),
                     fmt::format("{:.3g}", report.ratio), verdict);
}

}  // namespace

const HostTensor& Observed::Of(Quantity quantity) const {
  switch (quantity) {
    case Quantity::kY:
      return y;
    case Quantity::kDx:
      return dx;
    case Quantity::kDw:
      return dw;
    case Quantity::kDb:
      return db;
    case Quantity::kW:
      return w;
    case Quantity::kB:
      return b;
    case Quantity::kLoss:
      break;
  }
  LOG(FATAL) << "the losses are no tensor";
}

bool Observed::Has(Quantity quantity) const {
  return quantity == Quantity::kLoss ? !losses.empty() : Of(quantity).size() > 0;
}

std::string_view Name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk:
      return "ok";
    case Outcome::kUndecided:
      return "undecided";
    case Outcome::kFail:
      return "FAIL";
  }
  LOG(FATAL) << "no such outcome: " << static_cast<int>(outcome);
}

Outcome Report::outcome() const {
  Outcome gravest = Outcome::kOk;
  for (const QuantityReport& quantity : quantities) gravest = Worse(gravest, quantity.outcome());
  return gravest;
}

std::string_view Name(Lane lane) { return lane == Lane::kBounded ? "bounded" : "exact"; }

std::string ElementName(const Shape& shape, int64_t index) {
  if (shape.size() == 2) return fmt::format("[{}, {}]", index / shape[1], index % shape[1]);
  return fmt::format("[{}]", index);
}

std::string ToString(const Report& report) {
  std::string text = fmt::format("{}\n  lane: {}; verified: {}\n", report.title, Name(report.lane),
                                 report.coverage);
  text += fmt::format(fmt::runtime(kLine), "quantity", "checked", "worst at", "observed",
                      "expected", "error", "bound", "error/bound", "verdict");
  for (const QuantityReport& quantity : report.quantities) text += Line(quantity);
  switch (report.outcome()) {
    case Outcome::kOk:
      text += "  verdict: agrees\n";
      break;
    case Outcome::kUndecided:
      text += "  verdict: undecided\n";
      break;
    case Outcome::kFail:
      text += fmt::format("  verdict: DIFFERS, first in {}\n", Name(*report.first_divergence));
      break;
  }
  for (const QuantityReport& quantity : report.quantities) {
    const std::string_view name = Name(quantity.quantity);
    if (quantity.follows_from) {
      text += fmt::format("  {}: follows from {}\n", name, Name(*quantity.follows_from));
    }
    for (const std::string& cause : quantity.causes) {
      text += fmt::format("  {}: {}\n", name, cause);
    }
    for (const std::string& note : quantity.notes) text += fmt::format("  {}: {}\n", name, note);
  }
  return text;
}

}  // namespace tp::verify
