#include "tools/bench/watch.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "tp/core/dtype.h"

namespace tp::bench {
namespace {

constexpr int kMostWarmup = 4;
constexpr int kMostTimed = 8;
constexpr int kMostOfAll = 64;
constexpr double kMostBytes = 0x1p30;

// `most` of the `count` numbers from `begin` on, evenly spread, the last among them.
void Spread(int begin, int count, int most, std::vector<int>& steps) {
  const int chosen = std::min(count, most);
  for (int64_t i = 1; i <= chosen; ++i) {
    steps.push_back(begin + static_cast<int>(i * count / chosen) - 1);
  }
}

}  // namespace

double WatchedBytes(const BenchOptions& options) {
  const auto tokens = static_cast<double>(options.tokens);
  const auto in = static_cast<double>(options.in_features);
  const auto out = static_cast<double>(options.out_features);
  // w and b before and after, and their gradients; y and dx.
  return (3 * (in + 1) * out + tokens * (in + out)) * static_cast<double>(SizeOf(options.dtype));
}

std::vector<int> WatchedSteps(const BenchOptions& options) {
  const double affordable = std::min<double>(kMostBytes / WatchedBytes(options), kMostOfAll);
  std::vector<int> steps;
  int left = static_cast<int>(affordable);
  const int timed = options.hold_all_steps
                        ? kMostOfAll
                        : std::min(kMostTimed, options.steps / 10 + (options.steps % 10 != 0));
  const int of_timed = std::min({timed, left, options.steps});
  left -= of_timed;
  Spread(0, options.warmup, std::min(kMostWarmup, left), steps);
  Spread(options.warmup, options.steps, of_timed, steps);
  return steps;
}

std::vector<verify::ObservedStep> TakeWatched(TrainResult& trained) {
  std::vector<verify::ObservedStep> steps;
  for (WatchedStep& watched : trained.watched) {
    verify::ObservedStep step;
    step.step = watched.step;
    step.w = std::move(watched.before.at("w"));
    step.b = std::move(watched.before.at("b"));
    step.result.y = std::move(watched.results.at("y"));
    step.result.dx = std::move(watched.results.at("dx"));
    step.result.dw = std::move(watched.results.at("dw"));
    step.result.db = std::move(watched.results.at("db"));
    step.result.w = std::move(watched.after.at("w"));
    step.result.b = std::move(watched.after.at("b"));
    step.result.losses = {trained.losses[watched.step]};
    steps.push_back(std::move(step));
  }
  trained.watched.clear();
  return steps;
}

}  // namespace tp::bench
