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

// The modes against each other, the verdict, and what to do next with the files that were written.
std::string RenderEnd(const BenchOptions& options, const BenchResult& result);

}  // namespace tp::bench
