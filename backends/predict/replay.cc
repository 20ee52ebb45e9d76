#include "backends/predict/replay.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <utility>

#include "sim/flow/flow_network.h"

namespace tp::predict {
namespace {

using sim::FlowUse;
using sim::Picos;

// Of a meeting, beside the 1 of other ops.
constexpr double kBeforeOthers = 1e6;

// Where each stream of each rank stands; what runs the ops is the caller's.
template <typename Begin>
class Streams {
 public:
  Streams(const ReplayWorld& world, Begin begin) : world_(world), begin_(std::move(begin)) {
    lanes_.resize(world.ranks.size());
    for (size_t r = 0; r < world.ranks.size(); ++r) {
      const std::vector<ReplayOp>& ops = world.ranks[r];
      lanes_[r].ended.assign(ops.size(), false);
      for (size_t i = 0; i < ops.size(); ++i) {
        lanes_[r].order[static_cast<int>(ops[i].stream)].push_back(static_cast<int>(i));
      }
    }
  }

  // Begins whatever can be begun on the rank.
  void Advance(int rank) {
    Lane& lane = lanes_[rank];
    for (int s = 0; s < kMostStreams; ++s) {
      if (lane.running[s] || lane.next[s] == lane.order[s].size()) continue;
      const int index = lane.order[s][lane.next[s]];
      const ReplayOp& op = world_.ranks[rank][index];
      const bool ready =
          std::all_of(op.waits.begin(), op.waits.end(), [&](int wait) { return lane.ended[wait]; });
      if (!ready) continue;
      lane.running[s] = true;
      ++lane.next[s];
      begin_(rank, index);
    }
  }

  void Ended(int rank, int index) {
    Lane& lane = lanes_[rank];
    lane.ended[index] = true;
    lane.running[static_cast<int>(world_.ranks[rank][index].stream)] = false;
    ++done_;
  }

  void CheckDone() const {
    size_t all = 0;
    for (const auto& ops : world_.ranks) all += ops.size();
    CHECK_EQ(done_, all) << "an op waits for ever";
  }

 private:
  struct Lane {
    std::array<std::vector<int>, kMostStreams> order;
    std::array<size_t, kMostStreams> next = {};
    std::array<bool, kMostStreams> running = {};
    std::vector<char> ended;
  };

  const ReplayWorld& world_;
  Begin begin_;
  std::vector<Lane> lanes_;
  size_t done_ = 0;
};

struct Member {
  int rank = 0;
  int op = 0;
};

class Run {
 public:
  explicit Run(const ReplayWorld& world) : world_(world), come_(world.meetings.size()) {
    result_.ranks.resize(world.ranks.size());
    for (size_t r = 0; r < world.ranks.size(); ++r) {
      result_.ranks[r].resize(world.ranks[r].size());
      processors_.push_back(network_.AddResource(1));
      memories_.push_back(network_.AddResource(world.memory_bytes_per_second));
    }
    for (double per_second : world.shared) shared_.push_back(network_.AddResource(per_second));
  }

  Replayed Do() {
    Streams streams(world_, [this](int rank, int op) { Begin(rank, op); });
    for (size_t r = 0; r < world_.ranks.size(); ++r) streams.Advance(static_cast<int>(r));
    std::vector<int> touched;
    for (Picos end = network_.NextEnd(); end != sim::kNever; end = network_.NextEnd()) {
      now_ = end;
      touched.clear();
      while (const auto ended = network_.PopEnd(end)) {
        ++result_.events;
        const auto op = static_cast<int>(ended->number);
        if (ended->rank < Ranks()) {
          End(streams, {ended->rank, op}, touched);
        } else {
          for (const Member& member : come_[op]) End(streams, member, touched);
        }
      }
      for (int rank : touched) streams.Advance(rank);
    }
    streams.CheckDone();
    result_.end = now_;
    return std::move(result_);
  }

 private:
  int Ranks() const { return static_cast<int>(world_.ranks.size()); }

  template <typename S>
  void End(S& streams, const Member& member, std::vector<int>& touched) {
    result_.ranks[member.rank][member.op].end = now_;
    streams.Ended(member.rank, member.op);
    touched.push_back(member.rank);
  }

  // What takes `seconds` alone; it never wants more of the memory than there is.
  double MemoryRate(double bytes, double seconds) const {
    return std::min(bytes / seconds, world_.memory_bytes_per_second);
  }

  void Begin(int rank, int index) {
    const ReplayOp& op = world_.ranks[rank][index];
    result_.ranks[rank][index].begin = now_;
    if (op.meeting >= 0) return Come(rank, index, op.meeting);
    uses_.assign(1, {processors_[rank], op.processors});
    if (op.seconds > 0 && op.bytes > 0) {
      uses_.push_back({memories_[rank], MemoryRate(op.bytes, op.seconds)});
    }
    network_.Start(now_, {.amount = op.seconds, .limit = 1, .rank = rank, .number = index}, uses_);
  }

  void Come(int rank, int index, int meeting) {
    come_[meeting].push_back({rank, index});
    const Meeting& m = world_.meetings[meeting];
    if (static_cast<int>(come_[meeting].size()) < m.members) return;
    uses_.clear();
    if (m.seconds > 0) {
      for (const Member& member : come_[meeting]) {
        const double bytes = world_.ranks[member.rank][member.op].bytes;
        if (world_.processors_of_meeting > 0 && !m.copied) {
          uses_.push_back({processors_[member.rank], world_.processors_of_meeting});
        }
        if (bytes > 0) uses_.push_back({memories_[member.rank], MemoryRate(bytes, m.seconds)});
      }
      for (const SharedUse& use : m.uses) {
        uses_.push_back({shared_[use.shared], use.per_second});
      }
    }
    network_.Start(now_,
                   {.amount = m.seconds,
                    .limit = 1,
                    .share = kBeforeOthers,
                    .rank = Ranks(),
                    .number = meeting},
                   uses_);
  }

  const ReplayWorld& world_;
  sim::FlowNetwork network_;
  std::vector<sim::ResourceId> processors_, memories_, shared_;
  std::vector<std::vector<Member>> come_;  // by meeting
  std::vector<FlowUse> uses_;
  Picos now_ = 0;
  Replayed result_;
};

}  // namespace

Replayed Replay(const ReplayWorld& world) { return Run(world).Do(); }

double ReplayClosed(const ReplayWorld& world) {
  const size_t ranks = world.ranks.size();
  std::vector<size_t> next(ranks);
  std::vector<std::array<double, kMostStreams>> free(ranks);
  std::vector<std::vector<double>> ends(ranks);
  for (size_t r = 0; r < ranks; ++r) ends[r].resize(world.ranks[r].size());
  struct State {
    int come = 0;
    double begin = 0;
    std::vector<Member> members;
  };
  std::vector<State> meetings(world.meetings.size());
  double last = 0;
  // Ops are in an order that no stream and no wait contradicts; so a rank stops at its next meeting
  // alone, until all have come.
  std::vector<size_t> ready(ranks);
  for (size_t r = 0; r < ranks; ++r) ready[r] = r;
  while (!ready.empty()) {
    const size_t r = ready.back();
    ready.pop_back();
    for (; next[r] < world.ranks[r].size(); ++next[r]) {
      const ReplayOp& op = world.ranks[r][next[r]];
      double begin = free[r][static_cast<int>(op.stream)];
      for (int wait : op.waits) begin = std::max(begin, ends[r][wait]);
      if (op.meeting < 0) {
        ends[r][next[r]] = free[r][static_cast<int>(op.stream)] = begin + op.seconds;
        last = std::max(last, begin + op.seconds);
        continue;
      }
      State& state = meetings[op.meeting];
      state.begin = std::max(state.begin, begin);
      state.members.push_back({static_cast<int>(r), static_cast<int>(next[r])});
      if (++state.come < world.meetings[op.meeting].members) break;
      const double end = state.begin + world.meetings[op.meeting].seconds;
      last = std::max(last, end);
      for (const Member& member : state.members) {
        const ReplayOp& mine = world.ranks[member.rank][member.op];
        ends[member.rank][member.op] = free[member.rank][static_cast<int>(mine.stream)] = end;
        if (static_cast<size_t>(member.rank) == r) continue;
        ++next[member.rank];
        ready.push_back(member.rank);
      }
    }
  }
  for (size_t r = 0; r < ranks; ++r) {
    CHECK_EQ(next[r], world.ranks[r].size()) << "an op waits for ever";
  }
  return last;
}

}  // namespace tp::predict
