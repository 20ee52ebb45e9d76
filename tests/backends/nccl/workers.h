#pragma once

#include <string>
#include <vector>

// Test processes that start themselves once a rank, as a launcher would.
namespace tp::nccl {

struct Ended {
  int state = 0;    // as waitpid gives it
  std::string log;  // what it wrote
};

// Runs the test `test`, which may be disabled, in `world` processes of this binary at once, each
// with a launcher's variables and `more`, NAME=value, in its environment. They inherit no variable
// that tells googletest which tests to run or where to write. One that has not ended after a minute
// is killed, and fails the calling test.
std::vector<Ended> RunWorkers(const std::string& test, int world, const std::string& more);

// Expects that `worker` ran its test, which passed, and wrote `text`.
void ExpectToHaveSaid(const Ended& worker, const std::string& text);

}  // namespace tp::nccl
