#include "tools/bench/print.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"
#include "tools/bench/step_lines.h"
#include "tools/bench/summary.h"
#include "tools/bench/tables.h"
#include "tools/bench/tool.h"
#include "tools/bench/verdict.h"
#include "tools/io/table.h"

namespace tp::bench {
namespace {

std::string RenderSpeed(const BenchOptions& options, const BenchResult& result,
                        const ModeResult& mode) {
  const double rate = 1000 / mode.steps.step.median;
  const double flops = rate * FlopsPerStep(options);
  std::string speed = fmt::format("{} steps/s, {} tokens/s, {}", io::FormatCount(rate),
                                  io::FormatCount(rate * static_cast<double>(options.tokens)),
                                  io::FormatRate(flops, "FLOP/s"));
  if (result.peak) {
    speed += fmt::format(": {:.3g} % of the measured peak, {}", 100 * flops / *result.peak,
                         io::FormatRate(*result.peak, "FLOP/s"));
  }
  return Line("", speed);
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

}  // namespace

std::string RenderWarnings(const std::vector<std::string>& warnings) {
  std::string text;
  for (const std::string& warning : warnings) {
    text += io::Wrap("warning: " + warning, 2) + "\n";
  }
  return text;
}

std::string RenderNext(const BenchOptions& options, const Written& written) {
  std::string text;
  if (written.json) text += RenderNextReport(options.json);
  if (written.traces) text += fmt::format("next: tensorboard --logdir {}\n", options.trace_dir);
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
  return text + RenderWhere(options, machine, result.host);
}

std::string RenderMode(const BenchOptions& options, const BenchResult& result,
                       const ModeResult& mode) {
  std::string text = fmt::format("\n{} mode: W is Shard({})\n", Name(mode.mode),
                                 mode.mode == LinearMode::kRow ? 0 : 1);
  text += RenderTimeLine(options, mode) + RenderSpeed(options, result, mode);
  text += RenderProductsLine(mode) + RenderProfileLine(options, mode, Name(mode.mode));
  text += RenderPhaseLine(mode) + RenderMemoryLine(mode) + RenderLossLine(mode.observed.losses);
  if (mode.steps.bytes_ok) text += RenderBytesLine(mode);
  if (options.verbose) {
    text += RenderLosses(mode.observed.losses) + RenderPhases(options, mode.steps);
  }
  if (options.verbose || !mode.steps.bytes_ok) text += RenderCollectives(mode.steps);
  text += RenderDefects(mode);
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
  return text + RenderVerdict(options, result);
}

}  // namespace tp::bench
