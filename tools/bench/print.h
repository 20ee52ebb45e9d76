// The bench's report for people: a head, a section a mode as each is done, and the end.
//
// Each within 100 columns; tables come where something is wrong, or with --verbose.
#pragma once

#include <string>
#include <vector>

#include "tools/bench/machine.h"
#include "tools/bench/options.h"
#include "tools/bench/run.h"

namespace tp::bench {

// "warning: ...", a paragraph each; "" for none.
std::string RenderWarnings(const std::vector<std::string>& warnings);

std::string RenderHead(const BenchOptions& options, const Machine& machine,
                       const BenchResult& result);

std::string RenderMode(const BenchOptions& options, const BenchResult& result,
                       const ModeResult& mode);

// Which files are there, whole.
struct Written {
  bool json = false;
  bool traces = false;
};

// What to do next with them, a line each.
std::string RenderNext(const BenchOptions& options, const Written& written);

// The modes against each other, and the verdict.
std::string RenderEnd(const BenchOptions& options, const BenchResult& result);

}  // namespace tp::bench
