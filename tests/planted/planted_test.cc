// Every planted bug is caught by the lanes that must catch it, by name, whatever the numbers; and
// where it is not planted, no lane says a word.

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/planted/trial.h"

namespace tp::planted {
namespace {

class Planted : public testing::TestWithParam<Bug> {};

TEST_P(Planted, IsCaughtByName) {
  const StatusOr<Trial> trial = RunTrial(GetParam());
  ASSERT_TRUE(trial.ok()) << trial.status().ToString();
  EXPECT_EQ(Complaints(GetParam(), *trial), "") << GetParam().form;
}

TEST_P(Planted, ItsSettingAloneIsClean) {
  Bug nothing{.number = 0, .form = "nothing", .setting = GetParam().setting, .caught_by = {}};
  const StatusOr<Trial> trial = RunTrial(nothing);
  ASSERT_TRUE(trial.ok()) << trial.status().ToString();
  for (Lane lane : kAllLanes) EXPECT_EQ(trial->Of(lane).catches, 0) << trial->Of(lane).report;
  EXPECT_GT(trial->Of(Lane::kExact).runs, 0);
  EXPECT_GT(trial->Of(Lane::kBounded).runs, 0);
}

INSTANTIATE_TEST_SUITE_P(Bugs, Planted, testing::ValuesIn(AllBugs()), [](const auto& info) {
  return std::to_string(info.param.number) + "_" + std::to_string(info.index);
});

TEST(PlantedBugs, AreAllOfTheList) {
  std::set<int> numbers;
  for (const Bug& bug : AllBugs()) numbers.insert(bug.number);
  std::set<int> list;
  for (int number = 1; number <= 18; ++number) list.insert(number);
  EXPECT_EQ(numbers, list);
}

// The matrix can fail: a bug that nobody catches, one caught under another name, one caught by a
// lane that is said to be blind to it.
TEST(PlantedBugs, AreComplainedAboutWhereALaneIsWrong) {
  Bug bug = AllBugs()[2];
  ASSERT_EQ(bug.number, 3);
  const Trial trial = RunTrial(bug).value();
  ASSERT_EQ(Complaints(bug, trial), "");
  bug.quantity = verify::Quantity::kDx;
  EXPECT_NE(Complaints(bug, trial).find("exact: names 'Y', not 'dX'"), std::string::npos);
  bug.quantity = verify::Quantity::kY;
  bug.caught_by.erase(Lane::kBounded);
  EXPECT_NE(Complaints(bug, trial).find("bounded: names 'Y' unasked"), std::string::npos);

  bug = AllBugs()[2];
  bug.program = {};
  bug.hooks = {};
  const std::string complaints = Complaints(bug, RunTrial(bug).value());
  EXPECT_NE(complaints.find("no lane catches it"), std::string::npos);
  EXPECT_NE(complaints.find("exact: catches it 0 times of 5"), std::string::npos);
}

}  // namespace
}  // namespace tp::planted
