#include "tp/passes/op_order.h"

#include <glog/logging.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <queue>
#include <set>
#include <utility>

#include "tp/passes/micro_batches.h"

namespace tp {
namespace {

// Whether neither pass waits for an op: no collective of theirs needs it, directly or not, but for
// the sums of gradients. By op.
std::vector<bool> PutOff(const Program& program, const std::vector<OpCost>& costs,
                         const std::vector<std::vector<int>>& behind) {
  const std::vector<Op>& ops = program.ops();
  std::vector<bool> put_off(ops.size());
  for (size_t i = ops.size(); i-- > 0;) {
    const bool of_passes = ops[i].phase == Phase::kForward || ops[i].phase == Phase::kBackward;
    if (ops[i].phase == Phase::kOptimizer || (costs[i].communicates() && of_passes)) continue;
    put_off[i] = std::all_of(behind[i].begin(), behind[i].end(), [&](int other) {
      return put_off[other] || ops[other].phase == Phase::kOptimizer;
    });
  }
  return put_off;
}

// The ops that nothing puts off, but for collectives: lanes that run side by side, and what comes
// only after all of them. Of the optimizer there is one lane, the last.
std::vector<std::vector<std::vector<int>>> GroupsOfLanes(const Program& program,
                                                         const std::vector<OpCost>& costs,
                                                         const std::vector<bool>& put_off,
                                                         int strands) {
  std::map<std::pair<int, int>, std::vector<int>> lanes;  // by group and strand
  constexpr int kLast = 1 << 30;
  for (size_t i = 0; i < program.ops().size(); ++i) {
    const Op& op = program.ops()[i];
    if (put_off[i] || !costs[i].computes()) continue;
    const int piece = PieceOf(program.value(op.outputs[0]).name);
    const bool last = op.phase == Phase::kOptimizer;
    lanes[last ? std::pair(kLast, 0) : std::pair(piece / strands, piece % strands)].push_back(
        static_cast<int>(i));
  }
  std::vector<std::vector<std::vector<int>>> groups;
  int group = -1;
  for (auto& [key, lane] : lanes) {
    if (groups.empty() || key.first != group) groups.emplace_back();
    group = key.first;
    groups.back().push_back(std::move(lane));
  }
  return groups;
}

class ListScheduler {
 public:
  ListScheduler(const Program& program, const std::vector<OpCost>& costs,
                const ListOptions& options)
      : program_(program),
        costs_(costs),
        options_(options),
        behind_(OpsBehind(program)),
        put_off_(PutOff(program, costs, behind_)),
        groups_(GroupsOfLanes(program, costs, put_off_, options.strands)),
        awaited_(program.ops().size()),
        ready_(program.ops().size()),
        begun_(program.ops().size()) {
    for (const std::vector<int>& others : behind_) {
      for (int op : others) ++awaited_[op];
    }
    for (const OpCost& cost : costs) streams_ = std::max(streams_, cost.stream + 1);
    waiting_.resize(streams_);
    busy_.assign(streams_, false);
    if (!groups_.empty()) next_.assign(groups_[0].size(), 0);
  }

  std::vector<int> Run() {
    // What these make ready is told once, so they are known before.
    std::vector<int> first;
    for (size_t i = 0; i < awaited_.size(); ++i) {
      if (awaited_[i] == 0) first.push_back(static_cast<int>(i));
    }
    for (int op : first) MakeReady(op);
    while (true) {
      BeginAll();
      if (running_.empty()) break;
      now_ = running_.top().first;
      while (!running_.empty() && running_.top().first <= now_) {
        const int op = running_.top().second;
        running_.pop();
        busy_[costs_[op].stream] = false;
        End(op);
      }
    }
    // Sources that nobody reads.
    for (size_t i = 0; i < begun_.size(); ++i) Emit(static_cast<int>(i));
    CHECK_EQ(order_.size(), awaited_.size());
    return std::move(order_);
  }

 private:
  // What takes no time ends as soon as it may begin. A source is put on the list where it is read.
  void MakeReady(int op) {
    std::vector<int> at_once = {op};
    while (!at_once.empty()) {
      const int i = at_once.back();
      at_once.pop_back();
      ready_[i] = true;
      const OpCost& cost = costs_[i];
      if (cost.communicates()) {
        waiting_[cost.stream].insert({put_off_[i], i});
      } else if (cost.computes()) {
        if (put_off_[i]) {
          kept_back_.insert(i);
          reserve_ += cost.seconds;
        }
      } else {
        if (!program_.ops()[i].IsSource()) Emit(i);
        for (int other : behind_[i]) {
          if (--awaited_[other] == 0) at_once.push_back(other);
        }
      }
    }
  }

  void End(int op) {
    for (int other : behind_[op]) {
      if (--awaited_[other] == 0) MakeReady(other);
    }
  }

  void Emit(int op) {
    if (begun_[op]) return;
    begun_[op] = true;
    for (ValueId id : program_.ops()[op].inputs) Emit(program_.DefinitionOf(id));
    order_.push_back(op);
  }

  void Begin(int op) {
    Emit(op);
    busy_[costs_[op].stream] = true;
    running_.emplace(now_ + costs_[op].seconds, op);
  }

  // What the passes wait for goes before what is put off.
  void BeginAll() {
    for (int stream = 1; stream < streams_; ++stream) {
      if (busy_[stream] || waiting_[stream].empty()) continue;
      const int op = waiting_[stream].begin()->second;
      waiting_[stream].erase(waiting_[stream].begin());
      Begin(op);
    }
    if (streams_ == 0 || busy_[0]) return;
    const int op = Choose();
    if (op >= 0) Begin(op);
  }

  int Choose() {
    if (reserve_ > options_.reserve_seconds) return OldestKeptBack();
    EnterNextGroup();
    if (group_ == groups_.size()) return kept_back_.empty() ? -1 : OldestKeptBack();
    std::vector<std::vector<int>>& lanes = groups_[group_];
    for (size_t k = 0; k < lanes.size(); ++k) {
      const size_t lane = (lane_ + k) % lanes.size();
      SkipBegun(lane);
      if (next_[lane] == lanes[lane].size() || !ready_[lanes[lane][next_[lane]]]) continue;
      lane_ = lane;
      return lanes[lane][next_[lane]++];
    }
    if (!kept_back_.empty()) return OldestKeptBack();
    for (size_t k = 0; k < lanes.size(); ++k) {
      const std::vector<int>& lane = lanes[(lane_ + k) % lanes.size()];
      const size_t first = next_[(lane_ + k) % lanes.size()];
      const size_t end = std::min(lane.size(), first + static_cast<size_t>(options_.ahead));
      for (size_t i = first; i < end; ++i) {
        if (ready_[lane[i]] && !begun_[lane[i]]) return lane[i];
      }
    }
    return -1;
  }

  void SkipBegun(size_t lane) {
    const std::vector<int>& ops = groups_[group_][lane];
    while (next_[lane] < ops.size() && begun_[ops[next_[lane]]]) ++next_[lane];
  }

  // Once all lanes of this one have begun to the end.
  void EnterNextGroup() {
    while (group_ < groups_.size()) {
      bool ended = true;
      for (size_t lane = 0; lane < next_.size(); ++lane) {
        SkipBegun(lane);
        ended = ended && next_[lane] == groups_[group_][lane].size();
      }
      if (!ended) return;
      lane_ = 0;
      if (++group_ < groups_.size()) next_.assign(groups_[group_].size(), 0);
    }
  }

  int OldestKeptBack() {
    const int op = *kept_back_.begin();
    kept_back_.erase(kept_back_.begin());
    reserve_ = kept_back_.empty() ? 0 : reserve_ - costs_[op].seconds;
    return op;
  }

  const Program& program_;
  const std::vector<OpCost>& costs_;
  const ListOptions& options_;
  const std::vector<std::vector<int>> behind_;
  const std::vector<bool> put_off_;
  std::vector<std::vector<std::vector<int>>> groups_;
  // By op.
  std::vector<int> awaited_;
  std::vector<bool> ready_, begun_;
  // By stream: whether it works, and what waits for it.
  int streams_ = 0;
  std::vector<bool> busy_;
  std::vector<std::set<std::pair<bool, int>>> waiting_;
  std::set<int> kept_back_;
  double reserve_ = 0;  // seconds of what is kept back
  // Where the lanes stand.
  size_t group_ = 0;
  size_t lane_ = 0;
  std::vector<size_t> next_;
  double now_ = 0;
  std::priority_queue<std::pair<double, int>, std::vector<std::pair<double, int>>, std::greater<>>
      running_;
  std::vector<int> order_;
};

struct Interval {
  double begin = 0;
  double end = 0;
};

// For how long one of `a` and one of `b` are under way, of each two. Both are in order, and those
// of `b` do not meet each other.
double Both(const std::vector<Interval>& a, const std::vector<Interval>& b) {
  double both = 0;
  for (const Interval& one : a) {
    auto at = std::upper_bound(b.begin(), b.end(), one.begin,
                               [](double begin, const Interval& i) { return begin < i.end; });
    for (; at != b.end() && at->begin < one.end; ++at) {
      both += std::min(one.end, at->end) - std::max(one.begin, at->begin);
    }
  }
  return both;
}

}  // namespace

std::vector<std::vector<int>> OpsBehind(const Program& program) {
  const std::vector<Op>& ops = program.ops();
  std::vector<std::vector<int>> behind(ops.size());
  for (size_t i = 0; i < ops.size(); ++i) {
    const int op = static_cast<int>(i);
    for (ValueId id : ops[i].inputs) behind[program.DefinitionOf(id)].push_back(op);
    for (int u = 0; u < ops[i].def->updates; ++u) {
      for (ValueId id : program.SharersOf(ops[i].inputs[u])) {
        for (int reader : program.ReadersOf(id)) {
          if (reader != op) behind[reader].push_back(op);
        }
      }
    }
  }
  return behind;
}

OrderTimes TimesOf(const Program& program, const std::vector<OpCost>& costs,
                   const std::vector<int>& order) {
  const std::vector<std::vector<int>> behind = OpsBehind(program);
  std::vector<double> earliest(order.size());  // by op: the end of what it needs
  std::vector<double> free;                    // by stream
  std::vector<Interval> computes, communicates;
  OrderTimes times;
  for (int op : order) {
    const OpCost& cost = costs[op];
    double end = earliest[op];
    if (cost.stream >= 0) {
      if (static_cast<size_t>(cost.stream) >= free.size()) free.resize(cost.stream + 1);
      const double begin = std::max(end, free[cost.stream]);
      end = free[cost.stream] = begin + cost.seconds;
      (cost.computes() ? computes : communicates).push_back({begin, end});
      if (cost.communicates()) times.communication += cost.seconds;
    }
    times.seconds = std::max(times.seconds, end);
    for (int other : behind[op]) earliest[other] = std::max(earliest[other], end);
  }
  times.hidden = Both(communicates, computes);
  return times;
}

std::vector<int> ListOrder(const Program& program, const std::vector<OpCost>& costs,
                           const ListOptions& options) {
  CHECK_EQ(costs.size(), program.ops().size());
  CHECK(options.strands > 0 && options.ahead >= 0);
  return ListScheduler(program, costs, options).Run();
}

}  // namespace tp
