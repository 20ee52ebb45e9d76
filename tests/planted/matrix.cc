// Prints the kill matrix: every planted bug, and what each lane made of it.

#include <glog/logging.h>

#include <cstdio>

#include "fmt/format.h"
#include "tests/planted/trial.h"
#include "tests/programs/printed.h"
#include "tools/io/table.h"

namespace tp::planted {
namespace {

// A lane that compares numbers says which; the others that they caught it.
std::string Cell(Lane lane, const LaneResult& result) {
  if (result.runs == 0) return "";
  if (result.catches == 0) return "—";
  std::string text = "✓";
  if (NamesQuantity(lane)) text += " " + result.named;
  if (lane >= Lane::kBounded) text += fmt::format(" {:.2g}×", result.least_ratio);
  if (!result.caught()) text += fmt::format(" ({} of {})", result.catches, result.runs);
  return text;
}

int Main() {
  std::vector<io::Column> columns = {{"bug"}, {"form", io::Align::kLeft}};
  for (Lane lane : kAllLanes) columns.push_back({Name(lane), io::Align::kLeft});
  columns.push_back({"caught first by", io::Align::kLeft});
  io::Table table(columns);
  bool ok = true;
  std::string complaints;
  int caught = 0;
  const std::vector<Bug> bugs = AllBugs();
  for (const Bug& bug : bugs) {
    const StatusOr<Trial> trial = RunTrial(bug);
    CHECK(trial.ok()) << bug.form << ": " << trial.status().ToString();
    std::vector<std::string> row = {std::to_string(bug.number), bug.form};
    for (Lane lane : kAllLanes) row.push_back(Cell(lane, trial->Of(lane)));
    const std::optional<Lane> first = trial->FirstCatch();
    row.push_back(first ? Name(*first) : "NOTHING");
    table.AddRow(row);
    const std::string about = Complaints(bug, *trial);
    if (about.empty()) {
      ++caught;
    } else {
      complaints += fmt::format("\n{}. {}\n{}\n", bug.number, bug.form, about);
    }
    ok = ok && about.empty();
  }
  fmt::print(
      "{}\n✓ caught in each of {} runs with other numbers, naming what is behind it; bounded: "
      "the least error in units of its bound\n— looked and saw nothing; blank: it never got "
      "so far\n{} of {} forms caught by the lanes that must, under the right name\n{}",
      table.Render(), kSeeds, caught, bugs.size(), complaints);
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace tp::planted

int main(int, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return tp::Printed(tp::planted::Main());
}
