#include "tools/predict/program_ops.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "tp/schedule/memory.h"

namespace tp::predict_tool {

Schedule WithoutCollectives(Schedule schedule) {
  std::erase_if(schedule.ops,
                [](const ScheduledOp& op) { return op.action == Action::kCollective; });
  for (ScheduledOp& op : schedule.ops) {
    op.stream = Stream::kCompute;
    op.waits.clear();
  }
  return schedule;
}

std::vector<double> ShareTimes(const Schedule& schedule, const std::vector<predict::OpWork>& works,
                               const std::vector<double>& us, double gap_us) {
  std::vector<double> shares(us.size());
  std::array<std::vector<size_t>, kMostStreams> without;  // time, on their streams
  for (size_t op = 0; op < us.size(); ++op) {
    if (schedule.ops[op].action == Action::kCollective) continue;
    std::vector<size_t>& together = without[static_cast<int>(schedule.ops[op].stream)];
    if (works[op].IsProduct()) together.clear();  // it does nobody else's work
    together.push_back(op);
    if (us[op] <= 0) continue;
    double bytes = 0;
    for (size_t member : together) bytes += works[member].bytes;
    for (size_t member : together) {
      if (bytes > 0) shares[member] = (us[op] + gap_us) * works[member].bytes / bytes;
    }
    together.clear();
  }
  return shares;
}

Status ProgramOps::Add(Program program, const Mesh& mesh, int world, const LowerOptions& lower) {
  TP_ASSIGN_OR_RETURN(TimedCase timed, ProgramCase(program, mesh, mesh.world(), lower));
  const Schedule alone = WithoutCollectives(std::move(timed.schedules[0]));
  timed.schedules.clear();
  for (int rank = 0; rank < world; ++rank) {
    timed.schedules.push_back(alone);
    timed.schedules.back().rank = rank;
  }
  programs_.push_back(std::move(program));
  list_.cases.push_back(std::move(timed));
  return OkStatus();
}

double ProgramOps::MostBytes() const {
  int64_t most = 0;
  for (const TimedCase& timed : list_.cases) {
    most = std::max(most, ArenaOf(timed.schedules[0]).bytes);
  }
  return static_cast<double>(most);
}

double ProgramOps::LargestBuffer() const {
  int64_t largest = 0;
  for (const TimedCase& timed : list_.cases) {
    for (const Buffer& buffer : timed.schedules[0].buffers) {
      largest = std::max(largest, buffer.bytes());
    }
  }
  return static_cast<double>(largest);
}

void ProgramOps::Append(const ProgramOps& other) {
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  append(programs_, other.programs_);
  append(list_.cases, other.list_.cases);
  append(list_.times, other.list_.times);
}

double ProgramOps::GapUs() const {
  struct Step {
    double us = 0;
    double gap = 0;
  };
  std::vector<Step> steps;
  for (const CaseTimes& times : list_.times) {
    double sum = 0, count = 0;
    for (size_t op = 0; op < times.ops_us.size(); ++op) {
      const double us = times.op_median(op);
      sum += us;
      count += us > 0;
    }
    VLOG(1) << "a step of " << count << " ops takes " << times.median() << " us, they " << sum;
    if (count > 0) steps.push_back({times.median(), (times.median() - sum) / count});
  }
  if (steps.empty()) return 0;
  std::ranges::sort(steps, {}, &Step::us);
  std::vector<double> gaps;
  for (size_t i = 0; 2 * i < steps.size() + 1; ++i) gaps.push_back(steps[i].gap);
  return std::max(0.0, Median(gaps));
}

double ProgramOps::Floor() const {
  double sum = 0, count = 0;
  for (const CaseTimes& times : list_.times) {
    for (size_t op = 0; op < times.ops_us.size(); ++op) {
      const double median = times.op_median(op);
      if (median <= 0) continue;
      for (double us : times.ops_us[op]) {
        if (us <= 0) continue;
        sum += std::abs(std::log(us / median));
        ++count;
      }
    }
  }
  return count > 0 ? std::expm1(sum / count) : 0;
}

predict::Measurements ProgramOps::Measured(double gap_us) const {
  std::map<std::tuple<std::string, DType, double>, std::vector<double>> ops;
  std::map<std::pair<DType, predict::ProductShape>, std::vector<double>> products;
  for (size_t i = 0; i < list_.times.size(); ++i) {
    const Schedule& schedule = list_.cases[i].schedules[0];
    std::vector<predict::OpWork> works;
    std::vector<double> times;
    for (size_t op = 0; op < schedule.ops.size(); ++op) {
      works.push_back(predict::WorkOf(programs_[i], schedule, schedule.ops[op]));
      times.push_back(list_.times[i].op_median(op));
    }
    const std::vector<double> us = ShareTimes(schedule, works, times, gap_us);
    for (size_t op = 0; op < us.size(); ++op) {
      const predict::OpWork& work = works[op];
      VLOG(2) << "program " << i << ": " << schedule.ops[op].name << ", "
              << Name(schedule.ops[op].action) << " of " << work.bytes << " bytes: " << times[op]
              << " us, " << us[op] << " as shared";
      if (us[op] <= 0) continue;
      if (work.IsProduct()) {
        products[{work.dtype, work.product}].push_back(us[op] / static_cast<double>(work.loops));
      } else {
        ops[{predict::ActionOf(work), work.dtype, work.bytes}].push_back(us[op]);
      }
    }
  }
  predict::Measurements measured;
  for (const auto& [key, us] : ops) {
    const auto& [action, dtype, bytes] = key;
    measured.ops.push_back({action, dtype, bytes, Median(us)});
  }
  for (const auto& [key, us] : products) {
    measured.products.push_back({key.first, key.second, Median(us)});
  }
  return measured;
}

}  // namespace tp::predict_tool
