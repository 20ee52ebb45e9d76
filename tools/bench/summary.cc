#include "tools/bench/summary.h"

#include "fmt/format.h"
#include "tools/io/table.h"

namespace tp::bench {
namespace {

constexpr std::string_view kAll = "all of it";
constexpr std::string_view kAllOfThem = "; all of it";
// Of steps that are held one by one: what that means, for who wants the table.
constexpr std::string_view kEachAlone = ", each from the weights that it started with";

std::string OneLine(std::string_view what, const verify::Report& report) {
  int checked = 0;
  const verify::QuantityReport* worst = nullptr;
  for (const verify::QuantityReport& quantity : report.quantities) {
    if (quantity.checked == 0) continue;
    ++checked;
    if (worst == nullptr || quantity.ratio > worst->ratio) worst = &quantity;
  }
  const auto all = static_cast<int>(report.quantities.size());
  std::string text = checked == all ? fmt::format("{}: {} quantities", what, checked)
                                    : fmt::format("{}: {} of {} quantities", what, checked, all);
  if (worst != nullptr && report.lane == verify::Lane::kExact) {
    text += worst->error == 0 ? ", no error at all" : ", errors";
  } else if (worst != nullptr) {
    text += fmt::format(", worst error/bound {:.3g} in {}", worst->ratio, Name(worst->quantity));
  }
  std::string coverage = report.coverage;
  if (coverage.ends_with(kAllOfThem)) coverage.resize(coverage.size() - kAllOfThem.size());
  if (const size_t at = coverage.find(kEachAlone); at != coverage.npos) {
    coverage.erase(at, kEachAlone.size());
  }
  if (coverage != kAll) text += fmt::format(", of {}", coverage);
  return text + ": ok";
}

}  // namespace

std::string Summarize(std::string_view what, const verify::Report& report, bool verbose) {
  if (verbose || !report.ok()) return verify::ToString(report);
  return io::Wrap(OneLine(what, report), 4, 2) + '\n';
}

}  // namespace tp::bench
