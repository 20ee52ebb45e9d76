// Ops go together where nobody sees it: nothing else waits for one of them before the last, and in
// whatever order they run, each reads what it read one after the other.
#include "backends/nccl/execution/launch_groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tp/model/transformer.h"
#include "tp/schedule/hazards.h"
#include "tp/schedule/lower.h"

namespace tp::nccl {
namespace {

Schedule StepOf(int tp, bool overlap, int rank) {
  TransformerStepOptions options;
  options.batch = 2;
  options.sequence = 16;
  options.dtype = DType::kBFloat16;
  options.sequence_parallel = tp > 1;
  options.overlap = overlap;
  const Mesh mesh = Mesh::Create(tp, 1).value();
  const Program program = MakeTransformerStep({.layers = 4}, options, mesh).value();
  return Lower(program, mesh, rank).value();
}

int64_t CountOf(const Schedule& schedule, std::string_view action) {
  return std::ranges::count_if(schedule.ops,
                               [&](const ScheduledOp& op) { return Name(op.action) == action; });
}

// The schedule with each group's ops where the last one was, which is where they are launched.
Schedule AsLaunched(const Schedule& schedule, const std::vector<LaunchGroup>& groups) {
  std::vector<std::vector<int>> at(schedule.ops.size());  // by place: the ops that go there
  for (int i = 0; i < static_cast<int>(schedule.ops.size()); ++i) at[i] = {i};
  for (const LaunchGroup& group : groups) {
    for (int op : group.ops) at[op].clear();
    at[group.ops.back()] = group.ops;
  }
  Schedule launched = schedule;
  launched.ops.clear();
  std::vector<int> place_of(schedule.ops.size());
  for (const std::vector<int>& here : at) {
    for (int op : here) {
      place_of[op] = static_cast<int>(launched.ops.size());
      launched.ops.push_back(schedule.ops[op]);
    }
  }
  for (ScheduledOp& op : launched.ops) {
    for (int& wait : op.waits) wait = place_of[wait];
  }
  return launched;
}

TEST(LaunchGroups, AStepsUpdatesAndSquaresAreAFewLaunches) {
  for (int tp : {1, 2, 4}) {
    for (bool overlap : {false, true}) {
      for (int rank = 0; rank < tp; ++rank) {
        const Schedule schedule = StepOf(tp, overlap, rank);
        const std::vector<LaunchGroup> groups = GroupLaunches(schedule);
        int64_t updates = 0, squares = 0;
        for (const LaunchGroup& group : groups) {
          ASSERT_GE(group.ops.size(), 2u);
          EXPECT_TRUE(std::ranges::is_sorted(group.ops));
          for (int op : group.ops) {
            updates += schedule.ops[op].action == Action{"adamw_master"};
            squares += schedule.ops[op].action == Action{"square_sum"};
          }
        }
        EXPECT_EQ(updates, CountOf(schedule, "adamw_master"));
        EXPECT_EQ(squares, CountOf(schedule, "square_sum"));
        EXPECT_GT(updates, 30);
        EXPECT_LE(groups.size(), 3u) << "tp " << tp << ", overlap " << overlap;
        const Schedule launched = AsLaunched(schedule, groups);
        EXPECT_TRUE(CheckHazards(launched).ok()) << CheckHazards(launched).ToString();
      }
    }
  }
}

// Two updates, of w and of u, and what each reads.
class LaunchGroupsOf : public testing::Test {
 protected:
  // A buffer of so many elements behind the others.
  View Make(int64_t elements) {
    const auto buffer = static_cast<BufferId>(schedule_.buffers.size());
    schedule_.buffers.push_back({"b" + std::to_string(buffer), DType::kFloat32, elements, end_});
    end_ += elements * 4;
    return {buffer, 0, elements == 1 ? Dims{} : Dims{{elements, 1}}};
  }
  void Add(std::string_view action, std::vector<View> reads, std::vector<View> writes,
           std::vector<int> waits = {}, Stream stream = Stream::kCompute) {
    ScheduledOp op;
    op.action = Action{action};
    op.reads = std::move(reads);
    op.writes = std::move(writes);
    op.waits = std::move(waits);
    op.stream = stream;
    schedule_.ops.push_back(std::move(op));
  }
  std::vector<std::vector<int>> Groups() const {
    std::vector<std::vector<int>> groups;
    for (const LaunchGroup& group : GroupLaunches(schedule_)) groups.push_back(group.ops);
    return groups;
  }
  using Ops = std::vector<std::vector<int>>;

  Schedule schedule_;
  int64_t end_ = 0;
};

TEST_F(LaunchGroupsOf, UpdatesThatDoNotTouchEachOther) {
  const View w = Make(8), u = Make(8), v = Make(8), g = Make(8);
  Add("adamw", {w, g}, {w});
  Add("adamw", {u, g}, {u});
  Add("adamw", {v, g}, {v});
  EXPECT_EQ(Groups(), (Ops{{0, 1, 2}}));
}

TEST_F(LaunchGroupsOf, NoUpdateThatReadsWhatAnotherWrites) {
  const View w = Make(8), u = Make(8), g = Make(8);
  Add("adamw", {w, g}, {w});
  Add("adamw", {u, w}, {u});
  Add("adamw", {g, u}, {g});
  EXPECT_EQ(Groups(), Ops{});
}

TEST_F(LaunchGroupsOf, NoneBeyondAnotherOpOfTheStream) {
  const View w = Make(8), u = Make(8), g = Make(8);
  Add("adamw", {w, g}, {w});
  Add("copy", {w}, {g});
  Add("adamw", {u, g}, {u});
  EXPECT_EQ(Groups(), Ops{});
}

TEST_F(LaunchGroupsOf, NoneBeyondOneThatAnotherStreamWaitsFor) {
  const View w = Make(8), u = Make(8), v = Make(8), g = Make(8);
  Add("adamw", {w, g}, {w});
  Add("adamw", {u, g}, {u});
  Add("collective", {u}, {u}, {1}, Stream::kCommunication);
  Add("adamw", {v, g}, {v});
  EXPECT_EQ(Groups(), (Ops{{0, 1}}));
}

TEST_F(LaunchGroupsOf, SquaresWithTheSumsOfThem) {
  const View a = Make(8), b = Make(8), c = Make(8);
  const View square = Make(1), more = Make(1), sum = Make(1), total = Make(1);
  Add("square_sum", {a}, {square});
  Add("square_sum", {b}, {more});
  Add("add", {square, more}, {sum});
  Add("square_sum", {c}, {square});  // where the first one was
  Add("add", {sum, square}, {total});
  EXPECT_EQ(Groups(), (Ops{{0, 1, 2, 3, 4}}));
}

TEST_F(LaunchGroupsOf, NoSquareOfWhatASumWrites) {
  const View a = Make(8), square = Make(1), sum = Make(1), again = Make(1);
  Add("square_sum", {a}, {square});
  Add("add", {square, square}, {sum});
  Add("square_sum", {sum}, {again});
  EXPECT_EQ(Groups(), (Ops{{0, 1}}));
  schedule_.ops.pop_back();
  schedule_.buffers[sum.buffer].offset = schedule_.buffers[a.buffer].offset;
  EXPECT_EQ(Groups(), Ops{});
}

TEST_F(LaunchGroupsOf, NoSumOfWhatIsNoScalar) {
  const View a = Make(8), b = Make(8), square = Make(1);
  Add("square_sum", {a}, {square});
  Add("add", {a, b}, {b});
  EXPECT_EQ(Groups(), Ops{});
}

}  // namespace
}  // namespace tp::nccl
