#include "tools/bench/step_lines.h"

#include <algorithm>
#include <cstdint>

#include "fmt/format.h"
#include "tools/bench/tables.h"
#include "tools/io/table.h"

namespace tp::bench {
namespace {

constexpr int kIndent = 12;  // of what stands behind a line's name

std::string RenderBytesOfRanks(const std::vector<int64_t>& bytes) {
  const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
  if (*least == *most) return io::FormatBytes(*most);
  return fmt::format("{} to {}", io::FormatBytes(*least), io::FormatBytes(*most));
}

}  // namespace

std::string Line(std::string_view name, const std::string& text) {
  return fmt::format("  {:<{}}{}\n", name, kIndent - 2, io::Wrap(text, kIndent, kIndent));
}

std::string RenderWhere(const BenchOptions& options, const Machine& machine,
                        const std::vector<std::pair<std::string, std::string>>& host) {
  std::string where =
      fmt::format("on {}", machine.processor.empty() ? machine.name : machine.processor);
  if (machine.load >= 0) where += fmt::format(", load {:.2f}", machine.load);
  where += fmt::format(", backend {}, {} sums", options.backend, Name(options.sum_order));
  for (const auto& [what, value] : host) where += fmt::format(", {} {}", what, value);
  return io::Wrap(where, 2) + "\n";
}

std::string RenderTimeLine(const BenchOptions& options, const MeasuredStep& step) {
  const Quantiles& times = step.steps.step;
  // Of fewer than 100 steps the 99th percentile is the longest one.
  const size_t steps = step.steps.step_ms.size();
  const std::string asked = steps < static_cast<size_t>(options.steps)
                                ? fmt::format(", of {} asked for", options.steps)
                                : "";
  return Line("step",
              fmt::format("median {}, min {}, {} {} of {} steps{} (measured)",
                          Milliseconds(times.median), Milliseconds(times.min),
                          steps < 100 ? "max" : "p99", Milliseconds(times.p99), steps, asked));
}

std::string RenderProductsLine(const MeasuredStep& step) {
  if (!step.steps.products) return "";
  const double products = step.steps.products->median;
  return Line("", fmt::format("{:.2f} times its matrix products alone, which take {}",
                              step.steps.step.median / products, Milliseconds(products)));
}

std::string RenderProfileLine(const BenchOptions& options, const MeasuredStep& step,
                              std::string_view name) {
  if (!step.steps.profile) return "";
  const ProfileReport& profile = *step.steps.profile;
  return Line("profiled",
              fmt::format("median {} over {} steps, {:+.1f} % (measured); {} traced to "
                          "{}/profiler_logs_*_{}",
                          Milliseconds(profile.step.median), profile.steps, 100 * profile.overhead,
                          profile.traced, options.trace_dir, name));
}

std::string RenderPhaseLine(const MeasuredStep& step) {
  std::string text;
  for (const PhaseTime& phase : step.steps.phases) {
    if (phase.compute_ms == 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", Name(phase.phase),
                        Milliseconds(phase.compute_ms));
  }
  return Line("compute", text);
}

std::string RenderMemoryLine(const MeasuredStep& step) {
  std::string text = RenderBytesOfRanks(step.memory_bytes) + " a rank";
  if (step.memory_bytes_without_reuse != step.memory_bytes) {
    text += fmt::format("; {} without reuse", RenderBytesOfRanks(step.memory_bytes_without_reuse));
  }
  text = Line("memory", text);
  for (size_t rank = 0; rank < step.allocated.size(); ++rank) {
    if (step.allocated[rank].buffers == step.memory_bytes[rank]) continue;
    text += fmt::format("  WRONG MEMORY: rank {} took {} bytes for its buffers, planned were {}\n",
                        rank, step.allocated[rank].buffers, step.memory_bytes[rank]);
  }
  return text;
}

std::string RenderLossLine(const std::vector<double>& losses) {
  return Line("loss", fmt::format("{:.6g} to {:.6g} in {} steps", losses.front(), losses.back(),
                                  losses.size()));
}

std::string RenderBytesLine(const MeasuredStep& step) {
  if (step.steps.collectives.empty()) {
    return Line("moved", "nothing: every group is one rank");
  }
  int64_t bytes = 0;
  for (const CollectiveReport& collective : step.steps.collectives) bytes += collective.bytes_sent;
  return Line("moved", fmt::format("{} a step in {} collectives, exact; {}, of which exposed {}",
                                   io::FormatBytes(bytes), step.steps.collectives.size(),
                                   Milliseconds(Total(step.steps, &PhaseTime::communication_ms)),
                                   Milliseconds(Total(step.steps, &PhaseTime::exposed_ms))));
}

std::string RenderDefects(const MeasuredStep& step) {
  std::string text;
  for (const std::string& defect : step.replica_defects) text += "  WRONG: " + defect + "\n";
  return text;
}

}  // namespace tp::bench
