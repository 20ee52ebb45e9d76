// What bench says that it needs, before it allocates anything, is what it then takes: where a
// memory cgroup leaves less, the system would end it without a word.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <string>

#include "fmt/format.h"
#include "tests/tools/command.h"

namespace tp {
namespace {

constexpr double kMebibyte = 1 << 20;

// Of the largest process that this one has waited for.
double MostMebibytesOfAChild() {
  rusage usage = {};
  EXPECT_EQ(getrusage(RUSAGE_CHILDREN, &usage), 0);
  return static_cast<double>(usage.ru_maxrss) * 1024 / kMebibyte;
}

// From "... need about 184 MiB of memory, and ...", which it says where the limit is too low.
double SaidMebibytes(const std::string& flags) {
  const CommandResult refused =
      RunCommand("bash -c", fmt::format("'ulimit -v 190000; tools/bench/bench {}'", flags));
  EXPECT_EQ(refused.exit_code, 1) << flags;
  const std::string words = "need about ";
  const size_t begin = refused.err.find(words);
  EXPECT_NE(begin, std::string::npos) << refused.err;
  if (begin == std::string::npos) return 0;
  EXPECT_NE(refused.err.find(" MiB of memory, and the limit on address space", begin),
            std::string::npos)
      << refused.err;
  return std::atof(refused.err.c_str() + begin + words.size());
}

TEST(BenchMemory, IsWhatItSays) {
  ASSERT_EQ(RunCommand("tools/bench/bench", "--version").exit_code, 0);
  const double program = MostMebibytesOfAChild();
  // From the least to the most.
  for (const char* flags : {"--mode=row --steps=5", "--steps=5",
                            "--tp=8 --tokens=500 --in_features=500 --out_features=500 --steps=5"}) {
    const double said = SaidMebibytes(flags);
    const CommandResult ran = RunCommand("tools/bench/bench", flags);
    ASSERT_EQ(ran.exit_code, 0) << flags << ran.err;
    const double took = MostMebibytesOfAChild() - program;
    EXPECT_LE(took, said) << flags;
    EXPECT_GE(2 * took, said) << flags;  // nor does it refuse what would fit easily
  }
}

}  // namespace
}  // namespace tp
