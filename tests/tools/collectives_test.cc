// The collectives tool as a user runs it: its table, its file, and what it says to bad input.

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "fmt/format.h"
#include "tests/tools/command.h"

namespace tp {
namespace {

CommandResult Collectives(const std::string& arguments) {
  return RunCommand("tools/collectives/collectives", arguments);
}

TEST(CollectivesTest, PrintsAndWritesTheTable) {
  const std::string file = MakeScratchFolder() + "/table.json";
  const CommandResult result = Collectives(
      fmt::format("--tp=3 --max_bytes=5000 --steps=2 --warmup=0 --per_step=2 --json={}", file));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  for (const char* words : {"time µs", "algbw GB/s", "busbw GB/s", "#wrong", "measured",
                            "Verdict: 0 of ", "exactly the bytes"}) {
    EXPECT_NE(result.out.find(words), std::string::npos) << words << "\n" << result.out;
  }
  const nlohmann::json json = nlohmann::json::parse(ReadWholeFile(file));
  EXPECT_EQ(json.at("results").size(), 10u);
  EXPECT_EQ(json.at("config").at("tp"), 3);
  EXPECT_EQ(json.at("ok"), true);
  for (const nlohmann::json& row : json.at("results")) {
    const std::string kind = row.at("collective");
    EXPECT_NE(result.out.find(kind), std::string::npos);
    EXPECT_EQ(row.at("wrong"), 0) << kind;
    EXPECT_EQ(row.at("per_step"), 2) << kind;
    EXPECT_EQ(row.at("moved_bytes"), row.at("contract_bytes")) << kind;
  }
}

// Of more rows than a screen holds it shows evenly spaced sizes, with the largest; --verbose all.
TEST(CollectivesTest, ShowsWhatAScreenHolds) {
  const std::string file = MakeScratchFolder() + "/table.json";
  const std::string flags = "--factor=2 --max_bytes=32K --steps=1 --warmup=0 --per_step=1";
  const auto lines = [](const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
  };
  const CommandResult few = Collectives(flags + " --json=" + file);
  ASSERT_EQ(few.exit_code, 0) << few.err;
  EXPECT_LE(lines(few.out), 31) << few.out;
  EXPECT_NE(few.out.find("        32768 "), std::string::npos) << few.out;
  EXPECT_EQ(few.out.find("        16384 "), std::string::npos) << few.out;
  EXPECT_NE(few.out.find("\n15 more rows: --verbose shows them, and the file has them\n"),
            std::string::npos)
      << few.out;
  EXPECT_EQ(nlohmann::json::parse(ReadWholeFile(file)).at("results").size(), 30u);
  const CommandResult all = Collectives(flags + " --verbose");
  ASSERT_EQ(all.exit_code, 0) << all.err;
  EXPECT_EQ(all.out.find("more rows"), std::string::npos) << all.out;
  EXPECT_GE(lines(all.out), 30);
  EXPECT_NE(all.out.find("        16384 "), std::string::npos) << all.out;
}

TEST(CollectivesTest, TakesTheAlgorithmOfAllReduceAlone) {
  const CommandResult result = Collectives(
      "--collective=all_reduce,all_gather --algorithm=tree --max_bytes=1024 --steps=1 --tp=4");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("all_reduce     tree"), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find("all_gather     tree"), std::string::npos) << result.out;
}

TEST(CollectivesTest, TakesBytesWithAUnit) {
  const std::string file = MakeScratchFolder() + "/table.json";
  const CommandResult result = Collectives(
      "--collective=broadcast --min_bytes=2K --max_bytes=2KiB --steps=1 --warmup=0 --json=" + file);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(ReadWholeFile(file));
  ASSERT_EQ(json.at("results").size(), 1u);
  EXPECT_EQ(json.at("results")[0].at("bytes"), 2048);
  EXPECT_EQ(json.at("complete"), true);
  EXPECT_TRUE(json.at("run").contains("load"));
  EXPECT_TRUE(json.at("host").contains("processor"));
}

TEST(CollectivesTest, SaysThatItsTableIsLost) {
  const int status =
      std::system("tools/collectives/collectives --max_bytes=1K --steps=1 >/dev/full 2>err");
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_NE(ReadWholeFile("err").find("the standard output: cannot be written"), std::string::npos);
}

TEST(CollectivesTest, NamesNoReportOfAFileThatIsNot) {
  const CommandResult full =
      RunCommand("tools/collectives/collectives", "--max_bytes=1K --steps=1 --json=/dev/full");
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_NE(full.err.find("/dev/full"), std::string::npos) << full.err;
  EXPECT_EQ(full.out.find("next:"), std::string::npos) << full.out;
}

TEST(CollectivesTest, CtrlCLeavesTheRowsThatAreThere) {
  const std::string file = MakeScratchFolder() + "/table.json";
  const CommandResult result =
      RunCommand("timeout -s INT 2 tools/collectives/collectives",
                 "--min_bytes=1K --max_bytes=64M --factor=2 --steps=1000000 --json=" + file);
  EXPECT_EQ(result.exit_code, 124) << result.err;  // timeout's own
  EXPECT_NE(result.out.find("Interrupted after "), std::string::npos) << result.out;
  const nlohmann::json json = nlohmann::json::parse(ReadWholeFile(file));
  EXPECT_EQ(json.at("complete"), false);
  EXPECT_EQ(json.at("ok"), false);
}

TEST(CollectivesTest, BadInputGetsOneLine) {
  const std::pair<const char*, const char*> refusals[] = {
      {"--collective=all_shuffle", "--collective=all_shuffle"},
      {"--collective=,", "--collective"},
      {"--tp=1", "--tp=1"},
      {"--tp=257", "--tp=257"},
      {"--min_bytes=4", "an element for each of 2 ranks"},
      {"--min_bytes=0", "--min_bytes=0"},
      {"--min_bytes=4Q", "--min_bytes=4Q: it must be a number of bytes, such as 4096 or 64M"},
      {"--max_bytes=10", "--max_bytes=10"},
      {"--max_bytes=1099511627776", "of memory"},
      {"--factor=1", "--factor=1"},
      {"--per_step=-1", "--per_step=-1"},
      {"--steps=0", "--steps=0"},
      {"--dtype=tf32 --backend=nccl", "--dtype=tf32"},
      {"--lr=1", "--lr"},
      {"--tokens=1", "tokens"},
      {"ring", "'ring' is no flag"},
      {"--json=/nowhere/x.json", "/nowhere"},
      {"--backend=mpi", "--backend=mpi"},
  };
  for (const auto& [arguments, words] : refusals) {
    ExpectRefused(Collectives(arguments), arguments, words);
  }
}

}  // namespace
}  // namespace tp
