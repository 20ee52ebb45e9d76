// Every #include of the tree, and every look at a clock, against the rules.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "tests/house/clock_rules.h"
#include "tests/house/include_rules.h"

namespace tp {
namespace {

namespace fs = std::filesystem;

// Bazel runs a test beside links to its data; behind the link lies the tree.
fs::path Root() {
  return fs::canonical("tests/house/include_rules.h").parent_path().parent_path().parent_path();
}

bool IsSource(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".h" || extension == ".cc" || extension == ".cu" || extension == ".cuh";
}

std::vector<fs::path> Sources() {
  std::vector<fs::path> sources;
  for (const char* part : {"tp", "sim", "backends", "tools", "tests"}) {
    if (!fs::exists(Root() / part)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(Root() / part)) {
      if (entry.is_regular_file() && IsSource(entry.path())) {
        sources.push_back(fs::relative(entry.path(), Root()));
      }
    }
  }
  return sources;
}

TEST(Includes, PointTheWayTheHouseIsBuilt) {
  const std::regex include(R"re(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)re");
  int ours = 0;
  for (const fs::path& source : Sources()) {
    std::ifstream file(Root() / source);
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      std::smatch match;
      if (!std::regex_match(line, match, include)) continue;
      const std::string included = match[2];
      EXPECT_EQ(ObjectionToInclude(source.string(), included), "")
          << source.string() << ":" << number << " includes " << included;
      if (match[1] == "\"" && fs::exists(Root() / included)) ++ours;
    }
  }
  // Had it read the wrong tree, it would find nothing to object to.
  EXPECT_TRUE(fs::exists(Root() / "WORKSPACE")) << Root();
  EXPECT_GT(ours, 100);
}

TEST(Clocks, AreReadInOnePlace) {
  int lines = 0;
  for (const fs::path& source : Sources()) {
    std::ifstream file(Root() / source);
    std::string line;
    for (int number = 1; std::getline(file, line); ++number, ++lines) {
      EXPECT_EQ(ObjectionToClock(source.string(), line), "")
          << source.string() << ":" << number << ": " << line;
    }
  }
  EXPECT_GT(lines, 10000);
}

}  // namespace
}  // namespace tp
