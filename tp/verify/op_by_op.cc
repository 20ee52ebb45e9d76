#include "tp/verify/op_by_op.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <future>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>

#include "tp/core/random.h"
#include "tp/core/roundoff.h"
#include "tp/core/shard_geometry.h"
#include "tp/schedule/local_part.h"
#include "tp/verify/op_causes.h"
#include "tp/verify/value_owners.h"

namespace tp::verify {
namespace {

// One element of this many points at most: its numbers are in memory at once, 1.6 GB of them.
constexpr double kMostPointsOfAnElement = 0x1p25;
constexpr size_t kMostParagraphs = 8;

// First and last element, both sides of each border between shards at random places otherwise, and
// a random draw.
std::vector<int64_t> Sample(const Value& value, const Mesh& mesh, int64_t count, uint64_t seed,
                            ValueId id) {
  const int64_t total = NumElements(value.shape);
  const RandomTensor random(seed, static_cast<uint64_t>(id));
  uint64_t drawn = 0;
  const auto draw = [&](int64_t below) {
    const uint64_t high = random.Bits(drawn++);
    const uint64_t bits = high << 31 ^ random.Bits(drawn++);
    return static_cast<int64_t>(bits % static_cast<uint64_t>(below));
  };
  std::vector<int64_t> chosen = {0, total - 1};
  for (const auto& [axis, placement] : value.placements.entries()) {
    // Of several axes that cut a dimension, once.
    if (!IsShard(placement) || !value.placements.IsInnermost(axis)) continue;
    const int64_t size = value.shape[placement.dim];
    const int64_t stride =
        NumElements(Shape(value.shape.begin() + placement.dim + 1, value.shape.end()));
    const ShardGeometry geometry = GeometryOf(value, placement.dim, mesh);
    for (int part = 1; part < geometry.parts(); ++part) {
      for (int64_t at : {geometry.Offset(part) - 1, geometry.Offset(part)}) {
        if (at < 0 || at >= size) continue;
        const int64_t element = draw(total);
        chosen.push_back(element - element / stride % size * stride + at * stride);
      }
    }
  }
  for (int64_t i = 0; i < count; ++i) chosen.push_back(draw(total));
  std::ranges::sort(chosen);
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return chosen;
}

class ValueCheck {
 public:
  ValueCheck(const LocalReference& reference, const OpByOpOptions& options, OpReport& report)
      : reference_(reference), options_(options), report_(report) {}

  void Run() {
    const Value& value = reference_.program().value(report_.value);
    const double points = reference_.PointsOf(report_.value);
    if (points > kMostPointsOfAnElement && !options_.full) {
      report_.notes.push_back(
          fmt::format("one element is made of {:.3g} products or terms: not checked", points));
      report_.undecided = 1;
      return;
    }
    const double affordable = std::max(1.0, options_.max_points / std::max(points, 1.0));
    if (options_.full || affordable >= static_cast<double>(report_.total)) {
      indices_.resize(static_cast<size_t>(report_.total));
      std::iota(indices_.begin(), indices_.end(), 0);
    } else {
      indices_ = Sample(value, reference_.mesh(), static_cast<int64_t>(affordable), options_.seed,
                        report_.value);
    }
    expected_ = reference_.Expect(report_.value, indices_);
    MeasureSize(value.dtype);
    for (size_t i = 0; i < indices_.size(); ++i) Judge(i);
    report_.owners = OwnersOf(value, reference_.mesh(), report_.worst_index);
    if (failing_.empty()) return;
    report_.causes = CausesOf({reference_, report_.value, indices_, expected_, failing_});
  }

 private:
  void MeasureSize(DType dtype) {
    double squares = 0;
    int64_t finite = 0;
    for (const BoundedNumber& number : expected_) {
      if (!std::isfinite(number.value)) continue;
      squares += number.value * number.value;
      ++finite;
    }
    report_.size = finite > 0 ? std::sqrt(squares / static_cast<double>(finite)) : 0;
    if (report_.size == 0) report_.size = dtype == DType::kInt32 ? 1 : MinNormal(dtype);
    report_.checked = static_cast<int64_t>(expected_.size());
    report_.exact = true;
  }

  void Judge(size_t place) {
    const int64_t index = indices_[place];
    const BoundedNumber& expected = expected_[place];
    const LogicalValue& value = reference_.Observed(report_.value);
    const double observed = value.At(index);
    const auto shares = static_cast<double>(value.shares.size());
    double bound = expected.error;
    if (bound > 0 && shares > 1) {
      bound += Gamma(shares - 1, BoundedNumber::kOwnRoundoff) * value.SizeAt(index);
    }
    const double error = std::abs(observed - expected.value);
    const bool judged = std::isfinite(expected.value) && std::isfinite(bound);
    if (bound > 0 || !judged) report_.exact = false;
    double ratio = error == 0 || !judged ? 0 : error / bound;
    if (judged && !std::isfinite(observed)) ratio = HUGE_VAL;
    if (ratio > 1) {
      failing_.push_back(place);
      ++report_.failing;
    } else if (!judged || bound > report_.size || (options_.lane == Lane::kExact && bound > 0)) {
      ++report_.undecided;
    }
    if (place == 0 || ratio > report_.ratio || (report_.ratio == 0 && bound > report_.bound)) {
      report_.ratio = std::max(ratio, report_.ratio);
      report_.worst_index = index;
      report_.worst_observed = observed;
      report_.worst_expected = expected.value;
      report_.error = error;
      report_.bound = bound;
    }
  }

  const LocalReference& reference_;
  const OpByOpOptions& options_;
  OpReport& report_;
  std::vector<int64_t> indices_;
  std::vector<BoundedNumber> expected_;
  std::vector<size_t> failing_;
};

// What the lane can't say of a value, in words.
void AddNotes(const OpByOpOptions& options, OpReport& judged) {
  if (judged.undecided == 0 || judged.checked == 0) return;
  const bool numbers = std::isfinite(judged.worst_observed) && std::isfinite(judged.worst_expected);
  if (numbers && !std::isfinite(judged.bound) && options.arithmetic.functions == nullptr) {
    judged.notes.emplace_back(
        "no bound: nobody has worked out how far exp, log and their like are off as they were "
        "compiled here, or the numbers have left the range of the type");
  } else if (!std::isfinite(judged.bound) || !std::isfinite(judged.worst_expected)) {
    judged.notes.emplace_back("the numbers have left the range of the type, or their inputs had");
  } else if (options.lane == Lane::kExact && judged.bound <= judged.size) {
    judged.may_round = true;
    judged.notes.push_back(
        fmt::format("{} may round on these inputs, by {:.2e}: not for the exact lane", judged.def,
                    judged.bound));
  } else {
    judged.notes.push_back(
        fmt::format("rounding may take all of it: its size is {:.2e}", judged.size));
  }
}

// Of an op whose elements are made of more points only one value is checked at a time: what one
// element is made of is in memory at once.
constexpr double kManyPoints = 0x1p18;

// Checks so many of the report's values, one by one on each of as many threads as there are cores.
void CheckAll(const LocalReference& reference, const OpByOpOptions& options,
              const std::vector<size_t>& values, OpByOpReport& report) {
  std::atomic<size_t> next = 0;
  std::mutex large, said;
  int64_t done = std::ssize(report.values) - std::ssize(values);
  const auto work = [&] {
    for (size_t i = next++; i < values.size(); i = next++) {
      OpReport& value = report.values[values[i]];
      std::unique_lock<std::mutex> alone(large, std::defer_lock);
      if (reference.PointsOf(value.value) > kManyPoints) alone.lock();
      ValueCheck(reference, options, value).Run();
      AddNotes(options, value);
      const std::lock_guard<std::mutex> lock(said);
      ++done;
      if (options.progress) options.progress(done);
    }
  };
  const size_t threads =
      std::min(values.size(), size_t{std::max(1u, std::thread::hardware_concurrency())});
  std::vector<std::future<void>> others;
  for (size_t t = 1; t < threads; ++t) others.push_back(std::async(std::launch::async, work));
  work();
  for (std::future<void>& other : others) other.get();
}

// The ops whose values the exact lane can't decide, and how many values of each.
std::string RenderOpsThatMayRound(const OpByOpReport& report) {
  std::map<std::string, int64_t> values;
  for (const OpReport& value : report.values) {
    if (value.may_round && value.outcome() == Outcome::kUndecided) ++values[value.def];
  }
  std::vector<std::string> words;
  for (const auto& [def, count] : values) words.push_back(fmt::format("{} ({})", def, count));
  if (words.empty()) return "";
  return fmt::format("  may round on these inputs, and so not for this lane: {}\n",
                     fmt::join(words, ", "));
}

std::string Paragraph(const OpReport& report) {
  std::string text =
      fmt::format("  {}: {}\n    {}\n", Name(report.outcome()), report.name, report.what);
  if (report.checked > 0) {
    text += fmt::format(
        "    {} of {} elements checked, {} wrong; worst at [{}]: observed {:.8g}, expected {:.8g}, "
        "error {:.2e}, bound {:.2e}, error/bound {:.3g}",
        report.checked, report.total, report.failing,
        fmt::join(PositionOf(report.shape, report.worst_index), ", "), report.worst_observed,
        report.worst_expected, report.error, report.bound, report.ratio);
    text += fmt::format("; on rank {}\n", fmt::join(report.owners, ","));
  }
  for (const auto* lines : {&report.replica_defects, &report.causes, &report.notes}) {
    for (const std::string& line : *lines) text += "    " + line + "\n";
  }
  return text;
}

}  // namespace

Outcome OpReport::outcome() const {
  if (failing > 0 || !replica_defects.empty()) return Outcome::kFail;
  return undecided > 0 ? Outcome::kUndecided : Outcome::kOk;
}

Outcome OpByOpReport::outcome() const {
  Outcome gravest = Outcome::kOk;
  for (const OpReport& value : values) gravest = Worse(gravest, value.outcome());
  return gravest;
}

const OpReport* OpByOpReport::first_failure() const {
  const auto first = std::find_if(values.begin(), values.end(), [](const OpReport& value) {
    return value.outcome() == Outcome::kFail;
  });
  return first == values.end() ? nullptr : &*first;
}

double OpByOpReport::worst_ratio() const {
  double worst = 0;
  for (const OpReport& value : values) worst = std::max(worst, value.ratio);
  return worst;
}

StatusOr<OpByOpReport> VerifyOpByOp(const Program& program, const Mesh& mesh,
                                    const ObservedValues& observed, const OpByOpOptions& options) {
  TP_RETURN_IF_ERROR(Verify(program));
  if (observed.values.size() != program.values().size() ||
      observed.replica_defects.size() != observed.values.size()) {
    return InvalidArgument("what was observed is of another program");
  }
  for (const Op& op : program.ops()) {
    if (!op.IsSource() || observed.values[op.outputs[0]]) continue;
    return InvalidArgument("'" + program.value(op.outputs[0]).name + "' was not observed");
  }
  const LocalReference reference(program, mesh, observed, options.arithmetic);
  OpByOpReport report;
  report.lane = options.lane;
  std::vector<size_t> checked;
  for (size_t i = 0; i < program.ops().size(); ++i) {
    for (ValueId id : program.ops()[i].outputs) {
      OpReport& value = report.values.emplace_back();
      value.op = static_cast<int>(i);
      value.value = id;
      value.name = program.value(id).name;
      value.what = ToString(program, program.ops()[i]);
      value.def = program.ops()[i].def->name;
      value.shape = program.value(id).shape;
      value.total = NumElements(value.shape);
      value.observed = reference.IsObserved(id);
      value.replica_defects = observed.replica_defects[id];
      if (!value.observed || program.ops()[i].IsSource()) continue;
      checked.push_back(report.values.size() - 1);
    }
  }
  CheckAll(reference, options, checked, report);
  return report;
}

std::string ToString(const OpByOpReport& report) {
  int64_t count[3] = {};
  int64_t exact = 0;
  int64_t unseen = 0;
  int64_t sampled = 0;
  const OpReport* worst = nullptr;
  std::string paragraphs;
  size_t printed = 0;
  for (const OpReport& value : report.values) {
    const bool held = value.checked > 0 || value.outcome() != Outcome::kOk;
    if (held) ++count[static_cast<int>(value.outcome())];
    exact += value.exact ? 1 : 0;
    unseen += value.observed ? 0 : 1;
    sampled += value.checked > 0 && value.checked < value.total ? 1 : 0;
    if (worst == nullptr || value.ratio > worst->ratio) worst = &value;
    const bool told = value.may_round && value.outcome() == Outcome::kUndecided;  // by its op
    if (value.outcome() == Outcome::kOk || told || printed++ >= kMostParagraphs) continue;
    paragraphs += Paragraph(value);
  }
  std::string text = fmt::format(
      "op by op, {} lane: {} values: {} ok, {} undecided, {} wrong; {} can't have rounded, {} "
      "checked on a sample, {} checked through what reads them",
      Name(report.lane), count[0] + count[1] + count[2], count[static_cast<int>(Outcome::kOk)],
      count[static_cast<int>(Outcome::kUndecided)], count[static_cast<int>(Outcome::kFail)], exact,
      sampled, unseen);
  if (worst != nullptr) {
    text += fmt::format("; worst error/bound {:.3g} in {}", worst->ratio, worst->name);
  }
  text += "\n";
  if (const OpReport* first = report.first_failure()) {
    text += fmt::format("  DIFFERS, first in {}\n", first->name);
  }
  text += RenderOpsThatMayRound(report) + paragraphs;
  if (printed > kMostParagraphs) {
    text += fmt::format("  and {} more\n", printed - kMostParagraphs);
  }
  return text;
}

}  // namespace tp::verify
