// What a tool says that it needs, before it allocates anything, is what it then takes: where a
// memory cgroup leaves less, the system would end it without a word.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "tests/tools/command.h"

namespace tp {
namespace {

constexpr double kMebibyte = 1 << 20;

// The most that a program has of the machine's memory while it runs.
double MebibytesOf(const std::string& command) {
  const pid_t child = fork();
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", ("exec " + command + " >out 2>err").c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  rusage usage = {};
  EXPECT_EQ(wait4(child, &status, 0, &usage), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << command << ReadWholeFile("err");
  return static_cast<double>(usage.ru_maxrss) * 1024 / kMebibyte;
}

// From "... need about 184 MiB of memory, and ...", which it says where the limit is too low.
double SaidMebibytes(const std::string& command) {
  const CommandResult refused =
      RunCommand("bash -c", fmt::format("'ulimit -v 60000; {}'", command));
  EXPECT_EQ(refused.exit_code, 1) << command;
  const std::string words = "need about ";
  const size_t begin = refused.err.find(words);
  EXPECT_NE(begin, std::string::npos) << command << refused.err;
  if (begin == std::string::npos) return 0;
  EXPECT_NE(refused.err.find(" MiB of memory, and the limit on address space", begin),
            std::string::npos)
      << refused.err;
  return std::atof(refused.err.c_str() + begin + words.size());
}

void ExpectWhatItSays(const std::string& tool, const std::string& flags) {
  const std::string program = fmt::format("tools/{0}/{0} ", tool);
  const double said = SaidMebibytes(program + flags);
  const double took = MebibytesOf(program + flags) - MebibytesOf(program + "--version");
  EXPECT_LE(took, said) << program << flags;
  EXPECT_GE(2 * took, said) << program << flags;  // nor does it refuse what would fit easily
}

TEST(Memory, OfALayer) {
  for (const char* flags : {"--mode=row --steps=5", "--steps=5",
                            "--tp=8 --tokens=500 --in_features=500 --out_features=500 --steps=5"}) {
    ExpectWhatItSays("bench", flags);
  }
}

TEST(Memory, OfATransformer) {
  ExpectWhatItSays("bench", "--model=llama-tiny --steps=2");
  ExpectWhatItSays("train", "--steps=4 --save=");
  ExpectWhatItSays("verify", "--model=llama-tiny --batch=4");
}

TEST(Memory, OfCollectives) {
  ExpectWhatItSays("collectives", "--tp=4 --max_bytes=1M --steps=2");
  ExpectWhatItSays("collectives", "--max_bytes=16M --steps=1");
}

TEST(Memory, OfASweep) {
  ExpectWhatItSays("predict",
                   "--machine=preset:h100x8-ib400 --model=llama3-70b --sweep=tp:1..8,dp:1..128");
  ExpectWhatItSays("predict", "--model=llama3-8b --sweep=tp:1..2,dp:1..4");
}

}  // namespace
}  // namespace tp
