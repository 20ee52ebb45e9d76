// Ops go together where nobody sees it: nothing else waits for one of them before the last, and in
// whatever order they run, each reads what it read one after the other.
#include "backends/nccl/execution/launch_groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/backends/nccl/launch_groups_of.h"
#include "tp/model/transformer.h"
#include "tp/schedule/hazards.h"
#include "tp/schedule/lower.h"

namespace tp::nccl {
namespace {

Schedule StepOf(int tp, bool overlap, int rank, const LowerOptions& lower = {}) {
  TransformerStepOptions options;
  options.batch = 2;
  options.sequence = 16;
  options.dtype = DType::kBFloat16;
  options.sequence_parallel = tp > 1;
  options.overlap = overlap;
  const Mesh mesh = Mesh::Create(tp, 1).value();
  const Program program = MakeTransformerStep({.layers = 4}, options, mesh).value();
  return Lower(program, mesh, rank, lower).value();
}

int64_t CountOf(const Schedule& schedule, std::string_view action) {
  return std::ranges::count_if(schedule.ops,
                               [&](const ScheduledOp& op) { return Name(op.action) == action; });
}

bool IsOfNorm(const LaunchGroup& group) {
  return group.kind == GroupKind::kNorm || group.kind == GroupKind::kNormGrad;
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
        int64_t updates = 0, squares = 0, of_norms = 0;
        for (const LaunchGroup& group : groups) {
          of_norms += IsOfNorm(group);
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
        EXPECT_LE(std::ssize(groups) - of_norms, 3) << "tp " << tp << ", overlap " << overlap;
        const Schedule launched = AsLaunched(schedule, groups);
        EXPECT_TRUE(CheckHazards(launched).ok()) << CheckHazards(launched).ToString();
      }
    }
  }
}

// How many ops of an action are in groups, and how many of these are not written.
struct Grouped {
  int64_t ops = 0, unwritten = 0;
};
Grouped GroupedOf(const Schedule& schedule, const std::vector<LaunchGroup>& groups,
                  std::string_view action) {
  Grouped found;
  for (const LaunchGroup& group : groups) {
    for (size_t i = 0; IsOfNorm(group) && i < group.ops.size(); ++i) {
      if (Name(schedule.ops[group.ops[i]].action) != action) continue;
      ++found.ops;
      found.unwritten += group.written[i] ? 0 : 1;
    }
  }
  return found;
}

// The first norm has no sum before it, the last one's gradient none behind it. Where memory is used
// again, the blocks of a sum may lie where one of these ops writes.
TEST(LaunchGroups, AStepsNormsGoWithWhatIsAroundThem) {
  for (int tp : {1, 2, 4}) {
    for (int rank = 0; rank < tp; ++rank) {
      const Schedule schedule =
          StepOf(tp, /*overlap=*/false, rank, {.sum_part_bytes = 1, .keep = Keep::kAll});
      const std::vector<LaunchGroup> groups = GroupLaunches(schedule);
      const int64_t norms = CountOf(schedule, "rms_norm");
      EXPECT_EQ(norms, 9);
      EXPECT_EQ(GroupedOf(schedule, groups, "rms_norm").ops, norms - 1) << "tp " << tp;
      EXPECT_EQ(GroupedOf(schedule, groups, "rms_norm").unwritten, 0);
      const Grouped gradients = GroupedOf(schedule, groups, "rms_norm_grad");
      EXPECT_EQ(gradients.ops, tp == 1 ? norms - 1 : norms) << "tp " << tp;
      EXPECT_EQ(gradients.unwritten, norms - 1);
      const Grouped sums = GroupedOf(schedule, groups, "sum_rows");
      EXPECT_EQ(sums.ops, tp == 1 ? 0 : 2 * norms - 1) << "tp " << tp;
      EXPECT_EQ(sums.unwritten, sums.ops);
      EXPECT_EQ(GroupedOf(schedule, groups, "add").unwritten, 0);
      const Schedule lean = StepOf(tp, /*overlap=*/false, rank, {.sum_part_bytes = 1});
      EXPECT_EQ(GroupedOf(lean, GroupLaunches(lean), "rms_norm").ops, norms - 1) << "tp " << tp;
      for (const Schedule* each : {&schedule, &lean}) {
        const Schedule launched = AsLaunched(*each, GroupLaunches(*each));
        EXPECT_TRUE(CheckHazards(launched).ok()) << CheckHazards(launched).ToString();
      }
    }
  }
}

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
