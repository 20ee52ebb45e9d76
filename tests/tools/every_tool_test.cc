// What all tools in C++ do alike: help that a screen holds, a version, and a word where an output
// has no room.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>

#include "fmt/format.h"
#include "tests/tools/command.h"
#include "tp/core/version.h"

namespace tp {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTools[] = {"bench", "train", "verify", "predict", "collectives"};

// In a shell, so that it may say where the output goes.
CommandResult RunInShell(const std::string& before, const std::string& tool,
                         const std::string& arguments) {
  return RunCommand("bash -c", fmt::format("'{0} tools/{1}/{1} {2}'", before, tool, arguments));
}

// Columns that a line takes: continuation bytes of UTF-8 take none.
size_t Columns(const std::string& line) {
  return static_cast<size_t>(
      std::count_if(line.begin(), line.end(), [](char byte) { return (byte & 0xc0) != 0x80; }));
}

TEST(EveryToolTest, HasHelpThatAScreenHolds) {
  for (const char* tool : kTools) {
    const CommandResult help = RunInShell("", tool, "--help");
    EXPECT_EQ(help.exit_code, 0) << tool;
    EXPECT_NE(help.out.find("--backend="), std::string::npos) << tool << help.out;
    std::istringstream lines(help.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(Columns(line), 100u) << line;
  }
}

TEST(EveryToolTest, RefusesAFlagThatIsThereTwice) {
  for (const char* tool : kTools) {
    for (const auto& [flags, again] :
         {std::pair("--json=/tmp/a --json=/tmp/b", "--json"),
          {"--tp 2 -tp 4", "--tp"},
          {"--verbose --dp=1 --noverbose", "--verbose"},
          {"--sum-part-bytes=1 --sum_part_bytes=2", "--sum_part_bytes"}}) {
      ExpectRefused(RunInShell("", tool, flags), tool + (" " + std::string(flags)),
                    fmt::format("{}: {} is there more than once", tool, again));
    }
    // A value is no flag, whatever it looks like.
    ExpectRefused(RunInShell("", tool, "--json --tp --tp=x"), tool, "illegal value");
  }
}

TEST(EveryToolTest, SaysItsVersionOrThatItCannot) {
  for (const char* tool : kTools) {
    for (const char* flag : {"--version", "-version", "--version=true", "--help"}) {
      const CommandResult whole = RunInShell("", tool, flag);
      EXPECT_EQ(whole.exit_code, 0) << tool << flag << whole.err;
      if (std::string(flag) != "--help") {
        EXPECT_EQ(whole.out, fmt::format("{} version {}\n", tool, kVersion));
      }
      EXPECT_EQ(whole.err, "");
      for (const char* where : {" > /dev/full", " >&-"}) {
        const CommandResult lost = RunInShell("", tool, flag + std::string(where));
        ExpectRefused(lost, tool + (" " + std::string(flag)) + where,
                      fmt::format("{}: the standard output: cannot be written: ", tool));
      }
      EXPECT_EQ(
          RunInShell("", tool, flag + std::string(" | true; exit ${PIPESTATUS[0]}")).exit_code, 0);
    }
  }
}

// As on a full disk, where the system would rather end the tool without a word.
TEST(EveryToolTest, SaysThatAFileWouldBeLargerThanItMay) {
  const std::string folder = MakeScratchFolder();
  const std::string room = "; free some space or choose another place\n";
  const CommandResult bench =
      RunInShell("ulimit -f 8;", "bench",
                 fmt::format("--tokens=6 --in_features=70 --out_features=50 --nopeak --steps=3 "
                             "--json={0}/r.json --dump={0}/dump",
                             folder));
  EXPECT_EQ(bench.exit_code, 1) << bench.out << bench.err;
  EXPECT_NE(bench.out.find("Verdict: the sharded steps agree"), std::string::npos) << bench.out;
  EXPECT_NE(bench.err.find(folder + "/r.json: cannot be written: File too large" + room),
            std::string::npos)
      << bench.err;
  EXPECT_FALSE(fs::exists(folder + "/r.json"));
  EXPECT_TRUE(fs::exists(folder + "/dump/row/losses.npy"));  // it fits
  EXPECT_FALSE(fs::exists(folder + "/dump/row/w.npy"));

  const CommandResult train = RunInShell(
      "ulimit -f 8;", "train",
      "--steps=2 --batch=4 --sequence=16 --sample=0 --eval_every=0 --save=" + folder + "/save");
  EXPECT_EQ(train.exit_code, 1) << train.out << train.err;
  EXPECT_NE(train.err.find(": File too large" + room), std::string::npos) << train.err;
  EXPECT_EQ(std::count(train.err.begin(), train.err.end(), '\n'), 1) << train.err;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    EXPECT_FALSE(entry.path().filename().string().ends_with(".part")) << entry.path();
    EXPECT_FALSE(entry.path().filename().string().ends_with(".tmp")) << entry.path();
  }
}

}  // namespace
}  // namespace tp
