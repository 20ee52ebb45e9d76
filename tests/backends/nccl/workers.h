#pragma once

#include <string>
#include <vector>

// Test processes that start themselves again: once a rank, as a launcher would, or once.
namespace tp::nccl {

struct Ended {
  int state = 0;    // as waitpid gives it
  std::string log;  // what it wrote
};

// Runs the test `test`, which may be disabled, in a process of this binary with `own`, each
// NAME=value, in its environment. It inherits no variable that tells googletest which tests to run
// or where to write. If it has not ended after two minutes it is killed, and fails the calling
// test.
Ended RunAlone(const std::string& test, const std::vector<std::string>& own);

// The same in `world` processes at once, each with a launcher's variables and `more`.
std::vector<Ended> RunWorkers(const std::string& test, int world, const std::string& more);

// Expects that `worker` ran its test, which passed, and wrote `text`.
void ExpectToHaveSaid(const Ended& worker, const std::string& text);

}  // namespace tp::nccl
