#include "tools/bench/print.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"
#include "tools/bench/summary.h"
#include "tools/bench/tables.h"
#include "tools/bench/verdict.h"
#include "tools/io/table.h"

namespace tp::bench {
namespace {

constexpr int kIndent = 12;  // of what stands behind a line's name

// "  name      text", wrapped.
std::string Line(std::string_view name, const std::string& text) {
  return fmt::format("  {:<{}}{}\n", name, kIndent - 2, io::Wrap(text, kIndent, kIndent));
}

std::string RenderStep(const BenchOptions& options, const BenchResult& result,
                       const ModeResult& mode) {
  const Quantiles& step = mode.steps.step;
  const double rate = 1000 / step.median;
  // Of fewer than 100 steps the 99th percentile is the longest one.
  const size_t steps = mode.steps.step_ms.size();
  const std::string asked = steps < static_cast<size_t>(options.steps)
                                ? fmt::format(", of {} asked for", options.steps)
                                : "";
  std::string text =
      Line("step", fmt::format("median {}, min {}, {} {} of {} steps{} (measured)",
                               Milliseconds(step.median), Milliseconds(step.min),
                               steps < 100 ? "max" : "p99", Milliseconds(step.p99), steps, asked));
  const double flops = rate * FlopsPerStep(options);
  std::string speed = fmt::format("{} steps/s, {} tokens/s, {}", io::FormatCount(rate),
                                  io::FormatCount(rate * static_cast<double>(options.tokens)),
                                  io::FormatRate(flops, "FLOP/s"));
  if (result.peak) {
    speed += fmt::format(": {:.3g} % of the measured peak, {}", 100 * flops / *result.peak,
                         io::FormatRate(*result.peak, "FLOP/s"));
  }
  text += Line("", speed);
  if (mode.steps.products) {
    const double products = mode.steps.products->median;
    text += Line("", fmt::format("{:.2f} times its matrix products alone, which take {}",
                                 step.median / products, Milliseconds(products)));
  }
  return text;
}

std::string RenderPhaseLine(const ModeResult& mode) {
  std::string text;
  for (const PhaseTime& phase : mode.steps.phases) {
    if (phase.compute_ms == 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", Name(phase.phase),
                        Milliseconds(phase.compute_ms));
  }
  return Line("compute", text);
}

std::string RenderBytesLine(const ModeResult& mode) {
  if (mode.steps.collectives.empty()) {
    return Line("moved", "nothing: every group is one rank");
  }
  int64_t bytes = 0;
  for (const CollectiveReport& collective : mode.steps.collectives) bytes += collective.bytes_sent;
  return Line("moved", fmt::format("{} a step in {} collectives, exact; {}, of which exposed {}",
                                   io::FormatBytes(bytes), mode.steps.collectives.size(),
                                   Milliseconds(Total(mode, &PhaseTime::communication_ms)),
                                   Milliseconds(Total(mode, &PhaseTime::exposed_ms))));
}

std::string RenderProfile(const BenchOptions& options, const ModeResult& mode) {
  if (!mode.steps.profile) return "";
  const ProfileReport& profile = *mode.steps.profile;
  return Line("profiled",
              fmt::format("median {} over {} steps, {:+.1f} % (measured); {} traced to "
                          "{}/profiler_logs_*_{}",
                          Milliseconds(profile.step.median), profile.steps, 100 * profile.overhead,
                          profile.traced, options.trace_dir, Name(mode.mode)));
}

std::string RenderBytesOfRanks(const std::vector<int64_t>& bytes) {
  const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
  if (*least == *most) return io::FormatBytes(*most);
  return fmt::format("{} to {}", io::FormatBytes(*least), io::FormatBytes(*most));
}

std::string RenderMemoryLine(const ModeResult& mode) {
  std::string text = RenderBytesOfRanks(mode.memory_bytes) + " a rank";
  if (mode.memory_bytes_without_reuse != mode.memory_bytes) {
    text += fmt::format("; {} without reuse", RenderBytesOfRanks(mode.memory_bytes_without_reuse));
  }
  return Line("memory", text);
}

std::string RenderRatio(const BenchResult& result) {
  if (!result.ratio) return "";
  const auto name = [&](int i) { return Name(result.modes[static_cast<size_t>(i)].mode); };
  const Interval& ratio = *result.ratio;
  std::string text = fmt::format("{} / {}: {:.2f}", name(0), name(1), ratio.median);
  if (std::isinf(ratio.high)) {
    return text + fmt::format(" over {} pairs of blocks: too few steps to tell them apart\n",
                              result.ratio_blocks);
  }
  text += fmt::format(", from {:.2f} to {:.2f} (95 % interval over {} pairs of blocks): {}",
                      ratio.low, ratio.high, result.ratio_blocks,
                      Distinguishable(ratio)
                          ? fmt::format("{} is faster", ratio.high < 1 ? name(0) : name(1))
                          : "not distinguishable");
  return io::Wrap(text, 2) + "\n";
}

std::string RenderSpeedup(const BenchResult& result) {
  if (!result.tp1) return "";
  std::string text = fmt::format("speed-up over tp 1, which takes {} (measured after)",
                                 Milliseconds(result.tp1->median));
  for (const ModeResult& mode : result.modes) {
    text += fmt::format("{} {} {:.2f}", &mode == &result.modes.front() ? ":" : ",", Name(mode.mode),
                        result.tp1->median / mode.steps.step.median);
  }
  return io::Wrap(text, 2) + "\n";
}

std::string RenderVerdict(const BenchOptions& options, const BenchResult& result) {
  if (!result.complete) {
    return "\nInterrupted: this is what was measured until then, and is not verified.\n";
  }
  std::string verdict = Verdict(options, result);
  verdict.pop_back();  // the newline
  return "\n" + io::Wrap(verdict) + "\n";
}

std::string RenderNext(const BenchOptions& options) {
  std::string text;
  if (!options.json.empty()) text += fmt::format("next: report {}\n", options.json);
  if (options.profile) text += fmt::format("next: tensorboard --logdir {}\n", options.trace_dir);
  return text;
}

}  // namespace

std::string RenderWarnings(const std::vector<std::string>& warnings) {
  std::string text;
  for (const std::string& warning : warnings) {
    text += io::Wrap("warning: " + warning, 2) + "\n";
  }
  return text;
}

std::string RenderHead(const BenchOptions& options, const Machine& machine,
                       const BenchResult& result) {
  std::string text =
      io::Wrap(fmt::format("{} tokens x {} -> {} features, {}, tp {} x dp {}, {} "
                           "warm-up and {} timed steps, lr {}, seed {}",
                           options.tokens, options.in_features, options.out_features,
                           DTypeName(options), options.tp, options.dp, options.warmup,
                           options.steps, options.learning_rate, options.seed),
               2) +
      "\n";
  std::string where =
      fmt::format("on {}", machine.processor.empty() ? machine.name : machine.processor);
  if (machine.load >= 0) where += fmt::format(", load {:.2f}", machine.load);
  where += fmt::format(", backend {}, {} sums", options.backend, Name(options.sum_order));
  for (const auto& [what, value] : result.host) where += fmt::format(", {} {}", what, value);
  return text + io::Wrap(where, 2) + "\n";
}

std::string RenderMode(const BenchOptions& options, const BenchResult& result,
                       const ModeResult& mode) {
  std::string text = fmt::format("\n{} mode: W is Shard({})\n", Name(mode.mode),
                                 mode.mode == LinearMode::kRow ? 0 : 1);
  text += RenderStep(options, result, mode) + RenderProfile(options, mode);
  text += RenderPhaseLine(mode) + RenderMemoryLine(mode);
  const std::vector<double>& losses = mode.observed.losses;
  text += Line("loss", fmt::format("{:.6f} to {:.6f} in {} steps", losses.front(), losses.back(),
                                   losses.size()));
  if (mode.steps.bytes_ok) text += RenderBytesLine(mode);
  if (options.verbose) text += RenderLosses(mode) + RenderPhases(options, mode);
  if (options.verbose || !mode.steps.bytes_ok) text += RenderCollectives(mode);
  for (const std::string& defect : mode.replica_defects) text += "  WRONG: " + defect + "\n";
  if (mode.equivalence) {
    text += "  " + Summarize(fmt::format("{} against fp64", Name(mode.mode)), *mode.equivalence,
                             options.verbose);
  }
  if (mode.step_by_step) {
    text += "  " + Summarize(fmt::format("{} step by step", Name(mode.mode)), *mode.step_by_step,
                             options.verbose);
  }
  return text;
}

std::string RenderEnd(const BenchOptions& options, const BenchResult& result) {
  std::string text = "\n" + RenderRatio(result) + RenderSpeedup(result);
  if (text.size() == 1) text.clear();
  if (options.verbose) text += RenderSideBySide(result);
  if (result.between_modes) {
    text += Summarize("row against column", *result.between_modes, options.verbose);
  }
  return text + RenderVerdict(options, result) + RenderNext(options);
}

}  // namespace tp::bench
