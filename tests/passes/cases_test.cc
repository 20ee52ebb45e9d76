// Passes on programs in text files, a case a file: a program, a line "# Pass:" and the program that
// the pass makes of it on a mesh of tp 2 and dp 1, or "# Pass: unchanged".
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tp/ops/parse.h"
#include "tp/passes/passes.h"

namespace tp {
namespace {

constexpr char kFolder[] = "tests/passes/testdata";

std::vector<std::string> Cases() {
  std::vector<std::string> cases;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    cases.push_back(entry.path().stem());
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

const std::map<std::string, std::function<void(Program&)>>& Passes() {
  static const std::map<std::string, std::function<void(Program&)>> passes = {
      {"ComputeLossOnShards", ComputeLossOnShards},
      {"FuseLossAndGradient", FuseLossAndGradient},
      {"FuseLogitsGradient", FuseLogitsGradient},
      {"FuseBias", FuseBias},
      {"FuseSum", FuseSum},
      {"DropDeadOps", DropDeadOps},
      {"StartCommunicationEarly",
       [](Program& program) { StartCommunicationEarly(program, Mesh::Create(2, 1).value()); }}};
  return passes;
}

class PassCase : public testing::TestWithParam<std::string> {};

TEST_P(PassCase, GivesWhatItsFileSays) {
  std::stringstream file;
  file << std::ifstream(kFolder + ("/" + GetParam()) + ".program").rdbuf();
  std::string before, after, line;
  const std::function<void(Program&)>* pass = nullptr;
  bool unchanged = false;
  while (std::getline(file, line)) {
    const size_t colon = line.find(':');
    const auto named = line.starts_with("# ") && colon != line.npos
                           ? Passes().find(line.substr(2, colon - 2))
                           : Passes().end();
    if (named != Passes().end()) {
      pass = &named->second;
      unchanged = line.substr(colon) == ": unchanged";
    } else {
      (pass == nullptr ? before : after) += line + "\n";
    }
  }
  ASSERT_NE(pass, nullptr) << "no line \"# Pass:\"";
  StatusOr<Program> program = ParseProgram(before);
  ASSERT_TRUE(program.ok()) << program.status().ToString();
  ASSERT_TRUE(Verify(*program).ok()) << Verify(*program).ToString();
  const StatusOr<Program> expected = ParseProgram(unchanged ? before : after);
  ASSERT_TRUE(expected.ok()) << "behind the pass: " << expected.status().ToString();
  (*pass)(*program);
  EXPECT_EQ(Verify(*program).ToString(), "OK");
  EXPECT_EQ(ToString(*program), ToString(*expected));
}

INSTANTIATE_TEST_SUITE_P(Files, PassCase, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tp
