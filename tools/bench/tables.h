// The bench's tables, of one mode and of both side by side: what --verbose shows beside the report.
#pragma once

#include <string>

#include "tools/bench/options.h"
#include "tools/bench/run.h"

namespace tp::bench {

// "1.23 ms"; "-" for nothing at all.
std::string Milliseconds(double ms);

// Of all phases together.
double Total(const ModeResult& mode, double PhaseTime::*part);

std::string RenderLosses(const ModeResult& mode);
std::string RenderPhases(const BenchOptions& options, const ModeResult& mode);
std::string RenderCollectives(const ModeResult& mode);
// "" unless there are two modes.
std::string RenderSideBySide(const BenchResult& result);

}  // namespace tp::bench
