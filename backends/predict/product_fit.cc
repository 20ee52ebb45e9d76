#include "backends/predict/product_fit.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "backends/predict/linear_algebra.h"

namespace tp::predict {
namespace {

struct Tile {
  double m, n;
};
constexpr Tile kTileShapes[] = {{64, 64}, {128, 64}, {64, 128}, {128, 128}, {128, 256}, {256, 128}};

// How many tiles there are.
double TilesOf(const ProductShape& shape, const Tile& tile) {
  return std::ceil(static_cast<double>(shape.m) / tile.m) *
         std::ceil(static_cast<double>(shape.n) / tile.n);
}

// log2 of how much of the last tile's rows is padding.
double Padding(int64_t m, double tile) {
  const auto rows = static_cast<double>(m);
  return std::log2(std::ceil(rows / tile) * tile / rows);
}

}  // namespace

ProductFit::ProductFit(std::vector<ProductPoint> points, const sim::DeviceSpec& device,
                       double flops, double element_bytes, const std::vector<double>& parameters)
    : points_(std::move(points)),
      multiprocessors_(device.multiprocessors),
      flops_(flops),
      bytes_per_second_(device.memory_bytes_per_second),
      element_bytes_(element_bytes) {
  CHECK_GE(points_.size(), 8u);
  for (const ProductPoint& point : points_) features_.push_back(FeaturesOf(point.shape));
  const bool known = parameters.size() == kTrend + kKernel;
  if (known) {
    // From a file: whatever it says, numbers stay numbers.
    const auto tame = [](double value) { return std::clamp(value, -30.0, 30.0); };
    std::transform(parameters.begin(), parameters.begin() + kTrend, trend_.begin(), tame);
    std::transform(parameters.begin() + kTrend, parameters.end(), kernel_.begin(), tame);
  } else {
    FitTrend();
  }
  for (const ProductPoint& point : points_) {
    left_.push_back(std::log(point.seconds) - LogTrend(trend_, point.shape));
  }
  if (!known) FitKernel();
  Solve();
}

std::vector<double> ProductFit::parameters() const {
  std::vector<double> all(trend_.begin(), trend_.end());
  all.insert(all.end(), kernel_.begin(), kernel_.end());
  return all;
}

// Of `trend`, the logarithms of: a launch, what a byte takes over the peak, what a tile of each
// shape does, and the exponent less one of the smooth maximum.
double ProductFit::LogTrend(const Trend& trend, const ProductShape& shape) const {
  const auto m = static_cast<double>(shape.m), n = static_cast<double>(shape.n),
             k = static_cast<double>(shape.k);
  double compute = std::numeric_limits<double>::infinity();
  for (int t = 0; t < kTiles; ++t) {
    const Tile& tile = kTileShapes[t];
    const double waves = std::ceil(TilesOf(shape, tile) / multiprocessors_);
    const double one = tile.m * tile.n * k * 2 / (flops_ / multiprocessors_);
    compute = std::min(compute, waves * one * std::exp(trend[2 + t]));
  }
  const double bytes = element_bytes_ * (m * k + k * n + m * n);
  const double memory = bytes / bytes_per_second_ * std::exp(trend[1]);
  const double power = 1 + std::exp(std::clamp(trend[kTrend - 1], -3.0, 3.0));
  const double larger = std::max(compute, memory);
  const double smooth =
      larger *
      std::pow(std::pow(compute / larger, power) + std::pow(memory / larger, power), 1 / power);
  return std::log(std::exp(trend[0]) + smooth);
}

ProductFit::Features ProductFit::FeaturesOf(const ProductShape& shape) const {
  Features features = {std::log2(static_cast<double>(shape.m)),
                       std::log2(static_cast<double>(shape.n)),
                       std::log2(static_cast<double>(shape.k))};
  int at = 3;
  for (int t : {0, 3, 4}) {  // how full the waves are
    const double tiles = TilesOf(shape, kTileShapes[t]);
    const double slots = std::ceil(tiles / multiprocessors_) * multiprocessors_;
    features[at++] = std::min(6.0, std::log2(slots / tiles));
  }
  features[at++] = Padding(shape.m, 64);
  features[at++] = Padding(shape.m, 16);
  return features;
}

// The mean absolute error, so that a few odd points do not bend it; small steps away from where it
// began are free, so that what no point tells of stays there.
void ProductFit::FitTrend() {
  std::vector<double> start(kTrend, 0.5);
  start[0] = std::log(std::min_element(points_.begin(), points_.end(), [](auto& a, auto& b) {
                        return a.seconds < b.seconds;
                      })->seconds);
  start[1] = 0.3;
  start[kTrend - 1] = 1;
  const auto error = [&](const std::vector<double>& at) {
    Trend trend;
    std::copy(at.begin(), at.end(), trend.begin());
    double sum = 0, away = 0;
    for (const ProductPoint& point : points_) {
      sum += std::abs(LogTrend(trend, point.shape) - std::log(point.seconds));
    }
    for (int i = 1; i < kTrend; ++i) away += (at[i] - start[i]) * (at[i] - start[i]);
    return sum / static_cast<double>(points_.size()) + 1e-4 * away;
  };
  std::vector<double> best = Minimize(error, start, 0.3, 1500);
  best = Minimize(error, best, 0.1, 1500);
  std::copy(best.begin(), best.end(), trend_.begin());
}

double ProductFit::Covariance(const Kernel& kernel, const Features& a, const Features& b) {
  double squares = 0;
  for (int i = 0; i < kFeatures; ++i) {
    const double scaled = (a[i] - b[i]) * kernel[i];
    squares += scaled * scaled;
  }
  const double distance = std::sqrt(3 * squares);
  return kernel[kFeatures] * (1 + distance) * std::exp(-distance);
}

namespace {

// From logarithms to 1 / length, variance, noise.
template <typename Kernel>
Kernel Spelled(Kernel kernel, int features) {
  for (int i = 0; i < features; ++i) kernel[i] = std::exp(-kernel[i]);
  for (size_t i = features; i < kernel.size(); ++i) kernel[i] = std::exp(kernel[i]);
  return kernel;
}

}  // namespace

// Of the first `count` points. Lengths are drawn a little to 3 doublings.
double ProductFit::NegativeLikelihood(const Kernel& kernel, size_t count) const {
  const Kernel spelled = Spelled(kernel, kFeatures);
  std::vector<double> matrix(count * count);
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      matrix[i * count + j] = Covariance(spelled, features_[i], features_[j]);
    }
    matrix[i * count + i] += spelled[kFeatures + 1];
  }
  if (!Cholesky(matrix, count)) return 1e9;
  std::vector<double> solved(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(count));
  SolveLower(matrix, count, solved);
  double value = 0;
  for (size_t i = 0; i < count; ++i) {
    value += solved[i] * solved[i] / 2 + std::log(matrix[i * count + i]);
  }
  for (int i = 0; i < kFeatures; ++i) {
    const double away = kernel[i] - std::log(3.0);
    value += 0.02 * away * away * static_cast<double>(count) / 400;
  }
  return value;
}

// One parameter after the other, in steps that shrink. Some hundred points tell lengths apart; more
// cost their number's cube.
void ProductFit::FitKernel() {
  constexpr size_t kEnough = 400;
  const size_t count = std::min(points_.size(), kEnough);
  kernel_.fill(std::log(3.0));
  kernel_[kFeatures] = std::log(0.04);
  kernel_[kFeatures + 1] = std::log(1e-3);
  double best = NegativeLikelihood(kernel_, count);
  for (double step = 1; step > 0.05; step *= 0.6) {
    for (int i = 0; i < kKernel; ++i) {
      for (double direction : {step, -step}) {
        Kernel next = kernel_;
        next[i] += direction;
        const double value = NegativeLikelihood(next, count);
        if (value >= best) continue;
        best = value;
        kernel_ = next;
        break;
      }
    }
  }
}

bool ProductFit::Factor() {
  const size_t count = points_.size();
  const Kernel spelled = Spelled(kernel_, kFeatures);
  factor_.assign(count * count, 0);
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      factor_[i * count + j] = Covariance(spelled, features_[i], features_[j]);
    }
    factor_[i * count + i] += spelled[kFeatures + 1];
  }
  return Cholesky(factor_, count);
}

void ProductFit::Solve() {
  const size_t count = points_.size();
  while (!Factor()) kernel_[kFeatures + 1] += 1;  // enough noise makes any points differ
  weights_ = left_;
  SolveLower(factor_, count, weights_);
  SolveUpper(factor_, count, weights_);
  // Each point left out: it is off by weight / (K^-1)_ii, of a variance of 1 / (K^-1)_ii.
  std::vector<double> off(count), column(count);
  for (size_t i = 0; i < count; ++i) {
    std::fill(column.begin(), column.end(), 0);
    column[i] = 1;
    SolveLower(factor_, count, column);
    double inverse = 0;
    for (double x : column) inverse += x * x;
    off[i] = std::abs(weights_[i]) / std::sqrt(inverse);
  }
  std::sort(off.begin(), off.end());
  widen_ = off[std::min(count - 1, static_cast<size_t>(std::ceil(0.9 * (count + 1.0))) - 1)];
}

ProductFit::Estimate ProductFit::Of(const ProductShape& shape) const {
  const size_t count = points_.size();
  const Kernel spelled = Spelled(kernel_, kFeatures);
  const Features features = FeaturesOf(shape);
  std::vector<double> near(count);
  double log = LogTrend(trend_, shape);
  for (size_t i = 0; i < count; ++i) {
    near[i] = Covariance(spelled, features, features_[i]);
    log += near[i] * weights_[i];
  }
  SolveLower(factor_, count, near);
  double variance = spelled[kFeatures] + spelled[kFeatures + 1];
  for (double x : near) variance -= x * x;
  const double deviation = std::sqrt(std::max(variance, spelled[kFeatures + 1]));
  return {std::exp(log), std::exp(widen_ * deviation)};
}

}  // namespace tp::predict
