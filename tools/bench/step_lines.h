// The lines of a report about a step that was measured, whatever its program.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/bench/machine.h"
#include "tools/bench/measured.h"
#include "tools/bench/options.h"

namespace tp::bench {

// "  name      text", wrapped; ends in a newline, as all below.
std::string Line(std::string_view name, const std::string& text);

// "on <processor>, load 0.50, backend sim, fast sums, cores 2": where a run is.
std::string RenderWhere(const BenchOptions& options, const Machine& machine,
                        const std::vector<std::pair<std::string, std::string>>& host);

// Median, minimum and maximum of the timed steps.
std::string RenderTimeLine(const BenchOptions& options, const MeasuredStep& step);
// How much longer that is than the matrix products alone; "" where those were not timed.
std::string RenderProductsLine(const MeasuredStep& step);
// What profiling costs and where the traces of `name` are; "" where it was not asked for.
std::string RenderProfileLine(const BenchOptions& options, const MeasuredStep& step,
                              std::string_view name);
std::string RenderPhaseLine(const MeasuredStep& step);
// "3.1 MiB a rank, as planned; 4.0 MiB without reuse", or WRONG.
std::string RenderMemoryLine(const MeasuredStep& step);
std::string RenderLossLine(const std::vector<double>& losses);
// What the collectives moved, where that is what they must.
std::string RenderBytesLine(const MeasuredStep& step);
// "  WRONG: ...", a line for each defect of the replicas.
std::string RenderDefects(const MeasuredStep& step);

}  // namespace tp::bench
