#include "tools/bench/tables.h"

#include <numeric>

#include "fmt/format.h"
#include "tools/bench/verdict.h"
#include "tools/io/table.h"

namespace tp::bench {
namespace {

using io::Align;

std::string Indent(const std::string& text) {
  std::string indented = "  ";
  for (size_t i = 0; i < text.size(); ++i) {
    indented += text[i];
    if (text[i] == '\n' && i + 1 < text.size()) indented += "  ";
  }
  return indented;
}

}  // namespace

std::string Milliseconds(double ms) { return ms == 0 ? "-" : io::FormatDuration(ms * 1e6); }

double Total(const StepReport& steps, double PhaseTime::*part) {
  return std::accumulate(steps.phases.begin(), steps.phases.end(), 0.0,
                         [part](double sum, const PhaseTime& phase) { return sum + phase.*part; });
}

std::string RenderLosses(const std::vector<double>& losses) {
  std::string text = "loss by step";
  constexpr size_t kShown = 12;
  for (size_t i = 0; i < losses.size(); ++i) {
    const bool skipped =
        losses.size() > kShown && i >= kShown / 2 && i < losses.size() - kShown / 2;
    if (skipped) {
      if (i == kShown / 2) text += " ...";
      continue;
    }
    text += fmt::format(" {:.6g}", losses[i]);
  }
  return "  " + io::Wrap(text, 15, 2) + "\n";
}

std::string RenderPhases(const BenchOptions& options, const StepReport& steps) {
  io::Table table({{"phase (mean over steps and ranks)", Align::kLeft},
                   {"compute"},
                   {"communication"},
                   {"exposed"}});
  for (const PhaseTime& phase : steps.phases) {
    const bool nothing = phase.phase == Phase::kGradientSync && options.dp == 1;
    table.AddRow({std::string(Name(phase.phase)) + (nothing ? " (dp 1: nothing to do)" : ""),
                  Milliseconds(phase.compute_ms), Milliseconds(phase.communication_ms),
                  Milliseconds(phase.exposed_ms)});
  }
  return "\n" + Indent(table.Render());
}

std::string RenderCollectives(const StepReport& steps) {
  if (steps.collectives.empty()) {
    return "\n  no communication: every group is one rank\n";
  }
  io::Table table({{"collective", Align::kLeft},
                   {"algorithm", Align::kLeft},
                   {"moved"},
                   {"contract"},
                   {"time"},
                   {"algbw"},
                   {"busbw"},
                   {"", Align::kLeft}});
  for (const CollectiveReport& collective : steps.collectives) {
    table.AddRow({fmt::format("{} of {} over {}", Name(collective.contract.kind),
                              collective.contract.name, Name(collective.contract.axis)),
                  collective.algorithm, io::FormatBytes(collective.bytes_sent),
                  io::FormatBytes(collective.contract.bytes),
                  io::FormatDuration(collective.time_us * 1e3),
                  io::FormatRate(collective.algbw_gbps * 1e9, "B/s"),
                  io::FormatRate(collective.busbw_gbps * 1e9, "B/s"),
                  collective.ok() ? "exact" : "WRONG BYTES: " + DescribeWrongBytes(collective)});
  }
  return "\n" + Indent(table.Render());
}

std::string RenderSideBySide(const BenchResult& result) {
  if (result.modes.size() != 2) return "";
  const ModeResult& a = result.modes[0];
  const ModeResult& b = result.modes[1];
  io::Table table({{"side by side", Align::kLeft},
                   {std::string(Name(a.mode))},
                   {std::string(Name(b.mode))},
                   {fmt::format("{} / {}", Name(a.mode), Name(b.mode))}});
  const auto add = [&](const char* what, double of_a, double of_b) {
    table.AddRow({what, Milliseconds(of_a), Milliseconds(of_b),
                  of_b > 0 ? fmt::format("{:.2f}", of_a / of_b) : "-"});
  };
  add("step, median", a.steps.step.median, b.steps.step.median);
  add("compute", Total(a.steps, &PhaseTime::compute_ms), Total(b.steps, &PhaseTime::compute_ms));
  add("communication", Total(a.steps, &PhaseTime::communication_ms),
      Total(b.steps, &PhaseTime::communication_ms));
  add("exposed communication", Total(a.steps, &PhaseTime::exposed_ms),
      Total(b.steps, &PhaseTime::exposed_ms));
  return "\n" + table.Render();
}

}  // namespace tp::bench
