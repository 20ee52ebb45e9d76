// The bench's tables, of one mode and of both side by side: what --verbose shows beside the report.
#pragma once

#include <string>

#include "tools/bench/options.h"
#include "tools/bench/run.h"

namespace tp::bench {

// "1.23 ms"; "-" for nothing at all.
std::string Milliseconds(double ms);

// Of all phases of a step together.
double Total(const StepReport& steps, double PhaseTime::*part);

std::string RenderLosses(const std::vector<double>& losses);
std::string RenderPhases(const BenchOptions& options, const StepReport& steps);
std::string RenderCollectives(const StepReport& steps);
// "" unless there are two modes.
std::string RenderSideBySide(const BenchResult& result);

}  // namespace tp::bench
