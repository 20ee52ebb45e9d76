// The machine that a run was on, as far as its times depend on it, and what disturbs them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tools/bench/options.h"

namespace tp::bench {

struct Machine {
  std::string name;       // of the host
  std::string processor;  // its model, "" where the system does not say
  int cores = 0;          // that this process may use
  std::string date;       // now, in UTC: "2024-05-01T12:00:00Z"
  double load = 0;        // processes that wanted to run, mean of the last minute; -1: not known
};
Machine ThisMachine();

// How much of the machine other processes took since this was made.
class OtherProcesses {
 public:
  OtherProcesses();
  // From 0 to 1, of all cores; none where the system does not say, or less than a fifth of a second
  // has gone by, which its clock can't tell apart.
  std::optional<double> Share() const;

 private:
  double busy_ = 0;  // seconds of processors, of all processes
  double own_ = 0;
  double all_ = 0;  // with those in which a processor had nothing to do
};

// What a report says of the run itself.
struct RunFacts {
  Machine machine;
  std::vector<std::string> warnings;
  std::optional<double> others;  // OtherProcesses::Share, over the whole run
};

// That a launcher started this process among others which each run all ranks, as a sentence; or
// nothing. `get` returns the value of a variable of the environment, or null: std::getenv is one.
std::vector<std::string> WarningsOfLaunch(const BenchOptions& options,
                                          const std::function<const char*(const char*)>& get);

// What makes a run's times or files other than they seem, as sentences; before it runs. With that
// above.
std::vector<std::string> WarningsBefore(const BenchOptions& options, const Machine& machine,
                                        const std::function<const char*(const char*)>& get);

// Whether this process has all ranks: no launcher started others that take part.
bool RunsAlone(const BenchOptions& options, const std::function<const char*(const char*)>& get);

// The same for what was seen while it ran.
std::vector<std::string> WarningsAfter(const std::optional<double>& others);

}  // namespace tp::bench
