#include "tp/observe/step_report.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "tp/observe/op_key.h"

namespace tp {
namespace {

using Interval = std::pair<int64_t, int64_t>;

// The part of `interval` that none of `covers`, which are sorted by their begin, covers.
int64_t Uncovered(Interval interval, const std::vector<Interval>& covers) {
  int64_t uncovered = 0;
  int64_t at = interval.first;
  for (const auto& [begin, end] : covers) {
    if (begin >= interval.second) break;
    if (begin > at) uncovered += begin - at;
    at = std::max(at, end);
    if (at >= interval.second) return uncovered;
  }
  return uncovered + interval.second - at;
}

void AddStep(const Schedule& schedule, const StepRecord& step, double weight,
             std::vector<PhaseTime>& phases) {
  std::vector<Interval> computing;
  for (size_t i = 0; i < schedule.ops.size(); ++i) {
    if (schedule.ops[i].action != Action::kCollective) {
      computing.emplace_back(step.ops[i].begin_ns, step.ops[i].end_ns);
    }
  }
  std::sort(computing.begin(), computing.end());
  for (size_t i = 0; i < schedule.ops.size(); ++i) {
    PhaseTime& phase = phases[static_cast<size_t>(schedule.ops[i].phase)];
    const OpRecord& op = step.ops[i];
    const double ms = weight * static_cast<double>(op.end_ns - op.begin_ns) / 1e6;
    if (schedule.ops[i].action != Action::kCollective) {
      phase.compute_ms += ms;
      continue;
    }
    phase.communication_ms += ms;
    phase.exposed_ms +=
        weight * static_cast<double>(Uncovered({op.begin_ns, op.end_ns}, computing)) / 1e6;
  }
}

// Means over the ranks and the steps that `steps_of` gives of each.
std::vector<PhaseTime> MeanPhases(
    const std::vector<RankRecord>& ranks,
    const std::function<std::vector<const StepRecord*>(const RankRecord&)>& steps_of) {
  std::vector<PhaseTime> phases;
  for (Phase phase : kAllPhases) phases.push_back({phase, 0, 0, 0});
  for (const RankRecord& rank : ranks) {
    const std::vector<const StepRecord*> steps = steps_of(rank);
    const double weight = 1.0 / static_cast<double>(ranks.size() * steps.size());
    for (const StepRecord* step : steps) AddStep(rank.schedule, *step, weight, phases);
  }
  return phases;
}

// The ops of a rank's schedule that do what a contract entry says, one a part.
std::vector<int> FindOps(const Schedule& schedule, const ContractEntry& entry) {
  std::vector<int> found;
  for (size_t i = 0; i < schedule.ops.size(); ++i) {
    if (Serves(schedule.ops[i], entry)) found.push_back(static_cast<int>(i));
  }
  return found;
}

// Of the whole array, as the kind of the entry counts it.
int64_t ArrayElements(CollectiveKind kind, const CollectiveCall& call, int members) {
  if (call.kind == kind || members == 1) return TotalElements(call);
  return MinimalElementsSent(call, members) / (members - 1);  // by all_to_all: see Serves
}

CollectiveReport ReportCollective(const ContractEntry& entry,
                                  const std::vector<RankRecord>& ranks) {
  CollectiveReport report;
  report.contract = entry;
  const size_t steps = ranks[0].op_steps.size();
  std::vector<double> times_us(steps, std::numeric_limits<double>::infinity());
  for (const RankRecord& rank : ranks) {
    const std::vector<int> parts = FindOps(rank.schedule, entry);
    if (parts.empty()) continue;
    int64_t array_bytes = 0;
    std::vector<double> rank_us(steps);
    for (int index : parts) {
      const ScheduledOp& op = rank.schedule.ops[index];
      report.algorithm = rank.algorithms[index];
      report.members = static_cast<int>(op.group.size());
      array_bytes += ArrayElements(entry.kind, op.call, report.members) * SizeOf(op.call.dtype);
      report.bytes_sent += rank.op_steps.back().ops[index].bytes_sent;
      if (op.group[0] == rank.schedule.rank) {
        report.called_bytes += MinimalElementsSent(op.call, report.members) * SizeOf(op.call.dtype);
        report.algorithm_bytes += rank.expected_bytes[index];
      }
      for (size_t step = 0; step < steps; ++step) {
        const OpRecord& record = rank.op_steps[step].ops[index];
        rank_us[step] += static_cast<double>(record.end_ns - record.begin_ns) / 1e3;
      }
    }
    report.array_bytes = std::max(report.array_bytes, array_bytes);
    for (size_t step = 0; step < steps; ++step) {
      times_us[step] = std::min(times_us[step], rank_us[step]);
    }
  }
  report.time_us = QuantilesOf(std::move(times_us)).median;
  if (report.time_us > 0 && std::isfinite(report.time_us)) {
    report.algbw_gbps = static_cast<double>(report.array_bytes) / (report.time_us * 1e3);
    report.busbw_gbps = report.algbw_gbps * BusBandwidthFactor(entry.kind, report.members);
  }
  return report;
}

// Ranks run the same ops, but for copies of blocks that are empty on some.
std::vector<OpTime> MeanOpTimes(const std::vector<RankRecord>& ranks) {
  std::vector<OpTime> times;
  std::vector<double> runs;  // by how many ranks
  std::map<OpKey, size_t> places;
  for (const RankRecord& rank : ranks) {
    const std::vector<OpKey> keys = KeysOf(rank.schedule);
    const double weight = 1.0 / static_cast<double>(rank.op_steps.size());
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto [place, unseen] = places.emplace(keys[i], times.size());
      if (unseen) {
        const ScheduledOp& op = rank.schedule.ops[i];
        times.push_back({op.name, op.action, op.phase, 0});
        runs.push_back(0);
      }
      ++runs[place->second];
      for (const StepRecord& step : rank.op_steps) {
        times[place->second].time_us +=
            weight * static_cast<double>(step.ops[i].end_ns - step.ops[i].begin_ns) / 1e3;
      }
    }
  }
  for (size_t i = 0; i < times.size(); ++i) times[i].time_us /= runs[i];
  return times;
}

// The collectives that ran and that no entry of the contract is about: each owes an explanation for
// every byte.
std::vector<CollectiveReport> ReportUndeclared(const std::vector<ContractEntry>& contract,
                                               const std::vector<RankRecord>& ranks) {
  std::map<std::tuple<ValueId, Axis, CollectiveKind>, CollectiveReport> undeclared;
  for (const RankRecord& rank : ranks) {
    std::set<int> declared;
    for (const ContractEntry& entry : contract) {
      for (int index : FindOps(rank.schedule, entry)) declared.insert(index);
    }
    for (size_t i = 0; i < rank.schedule.ops.size(); ++i) {
      const ScheduledOp& op = rank.schedule.ops[i];
      if (op.action != Action::kCollective || declared.count(static_cast<int>(i)) > 0) continue;
      CollectiveReport& report = undeclared[{op.value, op.axis, op.call.kind}];
      report.contract = {op.name, op.call.kind, op.axis, op.phase, 0, op.value};
      report.algorithm = rank.algorithms[i];
      report.members = static_cast<int>(op.group.size());
      report.declared = false;
      report.bytes_sent += rank.op_steps.back().ops[i].bytes_sent;
    }
  }
  std::vector<CollectiveReport> reports;
  for (auto& [name, report] : undeclared) reports.push_back(std::move(report));
  return reports;
}

// Of each step, how long its slowest rank took.
std::vector<double> SlowestMs(const std::vector<RankRecord>& ranks,
                              std::vector<StepRecord> RankRecord::*steps) {
  std::vector<double> slowest((ranks[0].*steps).size());
  for (const RankRecord& rank : ranks) {
    for (size_t i = 0; i < slowest.size(); ++i) {
      const StepRecord& step = (rank.*steps)[i];
      slowest[i] = std::max(slowest[i], static_cast<double>(step.end_ns - step.begin_ns) / 1e6);
    }
  }
  return slowest;
}

ProfileReport ReportProfile(const std::vector<RankRecord>& ranks, const Quantiles& timed) {
  ProfileReport report;
  report.step = QuantilesOf(SlowestMs(ranks, &RankRecord::profiled));
  report.steps = static_cast<int>(ranks[0].profiled.size());
  report.traced = static_cast<int>(ranks[0].profile.steps.size());
  report.overhead = report.step.median / timed.median - 1;
  report.phases = MeanPhases(ranks, [](const RankRecord& rank) {
    std::vector<const StepRecord*> steps;
    for (const ProfiledStep& step : rank.profile.steps) steps.push_back(&step.record);
    return steps;
  });
  return report;
}

}  // namespace

std::string DescribeWrongBytes(const CollectiveReport& collective) {
  const std::string moved = "moved " + std::to_string(collective.bytes_sent) + " bytes, where ";
  if (!collective.declared) return moved + "no placement asks for any";
  const std::string contract = std::to_string(collective.contract.bytes);
  if (collective.called_bytes != collective.contract.bytes) {
    return moved + "its calls need " + std::to_string(collective.called_bytes) +
           " and the placements ask for " + contract;
  }
  return moved + (collective.algorithm.empty() ? "its algorithm" : collective.algorithm) +
         " sends " + std::to_string(collective.algorithm_bytes) +
         " and the placements ask for at least " + contract;
}

Quantiles QuantilesOf(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  const double median = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
  const auto p99 = static_cast<size_t>(std::ceil(0.99 * static_cast<double>(n))) - 1;
  return {median, values[0], values[p99]};
}

StatusOr<StepReport> MakeStepReport(const Program& program, const Mesh& mesh,
                                    const std::vector<RankRecord>& ranks) {
  if (ranks.empty() || ranks[0].steps.empty() || ranks[0].op_steps.empty()) {
    return InvalidArgument("no step was timed");
  }
  StepReport report;
  report.clock = ranks[0].steps[0].clock;
  report.step_ms = SlowestMs(ranks, &RankRecord::steps);
  report.step = QuantilesOf(report.step_ms);
  if (!ranks[0].products.empty()) {
    report.products = QuantilesOf(SlowestMs(ranks, &RankRecord::products));
  }
  report.phases = MeanPhases(ranks, [](const RankRecord& rank) {
    std::vector<const StepRecord*> steps;
    for (const StepRecord& step : rank.op_steps) steps.push_back(&step);
    return steps;
  });
  if (!ranks[0].profiled.empty()) report.profile = ReportProfile(ranks, report.step);
  report.ops = MeanOpTimes(ranks);
  const std::vector<ContractEntry> contract = ByteContract(program, mesh);
  for (const ContractEntry& entry : contract) {
    report.collectives.push_back(ReportCollective(entry, ranks));
  }
  for (CollectiveReport& undeclared : ReportUndeclared(contract, ranks)) {
    report.collectives.push_back(std::move(undeclared));
  }
  report.bytes_ok = std::all_of(report.collectives.begin(), report.collectives.end(),
                                [](const CollectiveReport& collective) { return collective.ok(); });
  return report;
}

}  // namespace tp
