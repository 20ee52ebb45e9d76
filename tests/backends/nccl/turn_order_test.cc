// Turns go without meetings where nothing can go wrong: all ranks' ops in one graph of what is
// before what, in which a block arrives some time after it was sent.
#include "backends/nccl/execution/turn_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tp/core/collective.h"
#include "tp/model/transformer.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"

namespace tp::nccl {
namespace {

struct Rank {
  Schedule schedule;
  std::vector<int64_t> offsets;  // of its buffers in the arena
  std::vector<Passing> passing;
  std::vector<std::vector<int>> awaited;
  std::vector<bool> meets;
};

std::vector<Passing> PassingOf(const Schedule& schedule) {
  std::vector<Passing> passing;
  for (const ScheduledOp& op : schedule.ops) {
    Passing& one = passing.emplace_back();
    if (op.action != Action::kCollective || TotalElements(op.call) == 0) continue;
    one.turn = TurnOf(op.call, static_cast<int>(op.group.size()));
    one.kind = one.turn == 0 ? Passing::kTogether : Passing::kTurn;
  }
  return passing;
}

std::vector<Rank> RanksOf(const Program& program, const Mesh& mesh) {
  std::vector<Rank> ranks;
  std::vector<Vouchers> agreed;
  std::vector<Schedule> schedules = LowerAll(program, mesh, {.sum_part_bytes = 1}).value();
  for (Schedule& schedule : schedules) {
    Rank rank{std::move(schedule), {}, {}, {}, {}};
    rank.offsets = ArenaOf(rank.schedule).offsets;
    rank.passing = PassingOf(rank.schedule);
    rank.awaited = AwaitedTurns(rank.schedule, rank.passing);
    const auto mine = VouchersOf(rank.schedule, rank.passing, rank.awaited);
    if (agreed.empty()) agreed = mine;
    for (size_t i = 0; i < agreed.size(); ++i) {
      agreed[i].always &= mine[i].always;
      agreed[i].if_it_meets &= mine[i].if_it_meets;
    }
    ranks.push_back(std::move(rank));
  }
  for (Rank& rank : ranks) rank.meets = TurnsThatMeet(rank.schedule, rank.passing, agreed);
  return ranks;
}

Program StepOn(const Mesh& mesh, bool overlap, int64_t sequence, bool recompute) {
  TransformerStepOptions options;
  options.batch = 2;
  options.sequence = sequence;
  options.sequence_parallel = true;
  options.overlap = overlap;
  options.recompute = recompute;
  return MakeTransformerStep({.layers = 3}, options, mesh).value();
}

// What happens to an op: it begins; a collective's members have come; it has ended, or, of a turn,
// has sent; its block has arrived here.
enum Event { kBegun, kFree, kEnded, kArrived, kEvents };

class Graph {
 public:
  explicit Graph(const std::vector<Rank>& ranks) : ranks_(ranks) {
    ops_ = static_cast<int>(ranks[0].schedule.ops.size());
    edges_.resize(ranks.size() * (ops_ + 1) * kEvents);
    for (int r = 0; r < static_cast<int>(ranks.size()); ++r) AddRank(r);
    Close();
  }

  int Node(int rank, int op, Event event) const {
    return (rank * (ops_ + 1) + op) * kEvents + event;
  }
  bool IsBefore(int a, int b) const { return before_[b][a]; }

  int SenderOf(int rank, int op) const {
    const std::vector<int>& group = ranks_[rank].schedule.ops[op].group;
    const auto me = std::find(group.begin(), group.end(), rank) - group.begin();
    const auto members = std::ssize(group);
    return group[(me + members - ranks_[rank].passing[op].turn) % members];
  }

 private:
  void Add(int from, int to) { edges_[from].push_back(to); }

  void AddRank(int r) {
    const Rank& rank = ranks_[r];
    std::map<Stream, int> last;
    for (int i = 0; i < ops_; ++i) {
      const ScheduledOp& op = rank.schedule.ops[i];
      Add(Node(r, i, kBegun), Node(r, i, kFree));
      Add(Node(r, i, kFree), Node(r, i, kEnded));
      if (last.contains(op.stream)) Add(Node(r, last[op.stream], kEnded), Node(r, i, kBegun));
      last[op.stream] = i;
      for (int wait : op.waits) Add(Node(r, wait, kEnded), Node(r, i, kBegun));
      for (int turn : rank.awaited[i]) Add(Node(r, turn, kArrived), Node(r, i, kBegun));
      const bool turn = rank.passing[i].kind == Passing::kTurn;
      if (turn) Add(Node(SenderOf(r, i), i, kEnded), Node(r, i, kArrived));
      if (rank.passing[i].kind != Passing::kTogether && !(turn && rank.meets[i])) continue;
      for (int other : op.group) Add(Node(other, i, kBegun), Node(r, i, kFree));
    }
    for (int i = 0; i < ops_; ++i) Add(Node(r, i, kEnded), Node(r, ops_, kBegun));
    for (int turn : rank.awaited[ops_]) Add(Node(r, turn, kArrived), Node(r, ops_, kBegun));
  }

  // What is before each node.
  void Close() {
    const size_t nodes = edges_.size();
    before_.assign(nodes, std::vector<bool>(nodes));
    std::vector<int> waits(nodes);
    for (const auto& to : edges_) {
      for (int node : to) ++waits[node];
    }
    std::vector<int> ready;
    for (size_t i = 0; i < nodes; ++i) {
      if (waits[i] == 0) ready.push_back(static_cast<int>(i));
    }
    for (size_t done = 0; done < ready.size(); ++done) {
      const int from = ready[done];
      for (int to : edges_[from]) {
        before_[to][from] = true;
        for (size_t i = 0; i < nodes; ++i) {
          if (before_[from][i]) before_[to][i] = true;
        }
        if (--waits[to] == 0) ready.push_back(to);
      }
    }
    EXPECT_EQ(ready.size(), nodes) << "ranks wait for one another in a circle";
  }

  const std::vector<Rank>& ranks_;
  int ops_ = 0;
  std::vector<std::vector<int>> edges_;
  std::vector<std::vector<bool>> before_;
};

bool Touches(const Rank& rank, const ScheduledOp& op, const View& view) {
  const auto bytes = [&](const View& of) {
    const int64_t width = SizeOf(rank.schedule.buffers[of.buffer].dtype);
    const int64_t base = rank.offsets[of.buffer];
    return std::pair(base + of.offset * width, base + of.End() * width);
  };
  const auto overlaps = [&](const View& other) {
    if (view.empty() || other.empty()) return false;
    return bytes(other).first < bytes(view).second && bytes(view).first < bytes(other).second;
  };
  return std::ranges::any_of(op.reads, overlaps) || std::ranges::any_of(op.writes, overlaps);
}

// "rank op name" of the first turn whose block may come too early or be read too early.
std::string RaceIn(const std::vector<Rank>& ranks) {
  const Graph graph(ranks);
  for (int r = 0; r < static_cast<int>(ranks.size()); ++r) {
    const Rank& rank = ranks[r];
    const int ops = static_cast<int>(rank.schedule.ops.size());
    for (int i = 0; i < ops; ++i) {
      if (rank.passing[i].kind != Passing::kTurn) continue;
      const int sent = graph.Node(graph.SenderOf(r, i), i, kFree);
      const int arrived = graph.Node(r, i, kArrived);
      bool right = graph.IsBefore(arrived, graph.Node(r, ops, kBegun));
      for (int other = 0; other < ops; ++other) {
        if (other == i || !Touches(rank, rank.schedule.ops[other], rank.schedule.ops[i].receive)) {
          continue;
        }
        const bool other_is_turn = rank.passing[other].kind == Passing::kTurn;
        if (other < i) {
          right = right && graph.IsBefore(graph.Node(r, other, kEnded), sent) &&
                  (!other_is_turn || graph.IsBefore(graph.Node(r, other, kArrived), sent));
        } else {
          right = right && graph.IsBefore(arrived, graph.Node(r, other, kBegun));
        }
      }
      if (!right) return std::to_string(r) + " " + rank.schedule.ops[i].name;
    }
  }
  return "";
}

int CountOf(const std::vector<bool>& flags) {
  return static_cast<int>(std::count(flags.begin(), flags.end(), true));
}

using Case = std::tuple<int, int, bool, int64_t, bool>;
class TurnOrder : public testing::TestWithParam<Case> {
 protected:
  std::vector<Rank> Ranks() const {
    const auto [tp, dp, overlap, sequence, recompute] = GetParam();
    const Mesh mesh = Mesh::Create(tp, dp).value();
    return RanksOf(StepOn(mesh, overlap, sequence, recompute), mesh);
  }
};

TEST_P(TurnOrder, NothingComesTooEarly) {
  const std::vector<Rank> ranks = Ranks();
  EXPECT_EQ(RaceIn(ranks), "");
  int turns = 0;
  for (const Passing& one : ranks[0].passing) turns += one.kind == Passing::kTurn ? 1 : 0;
  RecordProperty("turns", turns);
  RecordProperty("meet", CountOf(ranks[0].meets));
  EXPECT_GE(turns, 20);
  EXPECT_LE(CountOf(ranks[0].meets), turns / 2);
}

TEST_P(TurnOrder, MeetingsAreNeeded) {
  std::vector<Rank> ranks = Ranks();
  ASSERT_GT(CountOf(ranks[0].meets), 0);
  for (Rank& rank : ranks) rank.meets.assign(rank.meets.size(), false);
  EXPECT_NE(RaceIn(ranks), "");
}

TEST_P(TurnOrder, EachAwaitIsNeeded) {
  const std::vector<Rank> ranks = Ranks();
  int tried = 0;
  for (size_t op = 0; op < ranks[0].awaited.size() && tried < 5; ++op) {
    if (ranks[0].awaited[op].empty()) continue;
    std::vector<Rank> without = ranks;
    without[0].awaited[op].clear();
    EXPECT_NE(RaceIn(without), "") << op;
    ++tried;
  }
  EXPECT_EQ(tried, 5);
}

INSTANTIATE_TEST_SUITE_P(Meshes, TurnOrder,
                         testing::Values(Case{2, 1, false, 16, false}, Case{2, 1, true, 16, false},
                                         Case{3, 1, true, 10, false}, Case{4, 1, false, 10, true},
                                         Case{4, 1, true, 16, false}, Case{2, 2, true, 16, false}));

// Turns of two ranks, one after the other, into these buffers; where asked for, a copy behind the
// first one needs its block, and the later ones come behind that.
Vouchers OfTheLast(const std::vector<BufferId>& into, bool awaited_between) {
  Schedule schedule;
  for (const char* name : {"sent", "a", "b", "copied"}) {
    schedule.buffers.push_back({name, DType::kFloat32, 8});
  }
  const auto whole = [](BufferId buffer) { return View{buffer, 0, {{8, 1}}}; };
  for (BufferId buffer : into) {
    ScheduledOp op;
    op.action = Action::kCollective;
    op.stream = Stream::kCommunication;
    op.call = {CollectiveKind::kAllToAll, DType::kFloat32, Reduction::kSum, 0, {0, 8, 8, 0}};
    op.group = {0, 1};
    op.send = whole(0);
    op.receive = whole(buffer);
    op.reads = {op.send};
    op.writes = {op.receive};
    if (awaited_between && schedule.ops.size() == 1) {
      ScheduledOp& copy = schedule.ops.emplace_back();
      copy.reads = {schedule.ops[0].receive};
      copy.writes = {whole(3)};
      copy.waits = {0};
    }
    if (awaited_between && schedule.ops.size() > 1) op.waits = {1};
    schedule.ops.push_back(op);
  }
  const std::vector<Passing> passing = PassingOf(schedule);
  return VouchersOf(schedule, passing, AwaitedTurns(schedule, passing)).back();
}

// The way back vouches once its word is known to have come, and no sooner.
TEST(Vouchers, TheWayBackMustHaveBeenAwaited) {
  EXPECT_EQ(OfTheLast({1, 2}, /*awaited_between=*/false).always, 0u);
  EXPECT_EQ(OfTheLast({1, 2}, /*awaited_between=*/true).always, 1u);
}

// Room into which another block is still on its way is not free.
TEST(Vouchers, ABlockOnItsWayHoldsItsRoom) {
  EXPECT_EQ(OfTheLast({1, 2, 1}, /*awaited_between=*/false).if_it_meets, 0u);
  EXPECT_EQ(OfTheLast({1, 2, 1}, /*awaited_between=*/true).if_it_meets, 1u);
}

}  // namespace
}  // namespace tp::nccl
