#include "backends/predict/kriging.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "backends/predict/linear_algebra.h"

namespace tp::predict {

Kriging::Kriging(std::vector<std::vector<double>> points, std::vector<double> values,
                 std::vector<double> parameters)
    : points_(std::move(points)),
      values_(std::move(values)),
      features_(points_.at(0).size()),
      parameters_(std::move(parameters)) {
  CHECK_EQ(points_.size(), values_.size());
  if (parameters_.empty()) FitParameters();
  CHECK_EQ(parameters_.size(), CountOf(features_));
  Solve();
}

Kriging::Kernel Kriging::Spelled(const std::vector<double>& parameters) const {
  Kernel kernel(parameters.size());
  for (size_t i = 0; i < kernel.size(); ++i) {
    kernel[i] = std::exp(i < features_ ? -parameters[i] : parameters[i]);
  }
  return kernel;
}

double Kriging::Covariance(const Kernel& kernel, const std::vector<double>& a,
                           const std::vector<double>& b) const {
  double squares = 0;
  for (size_t i = 0; i < features_; ++i) {
    const double scaled = (a[i] - b[i]) * kernel[i];
    squares += scaled * scaled;
  }
  const double distance = std::sqrt(3 * squares);
  return kernel[features_] * (1 + distance) * std::exp(-distance);
}

// False where the points are too much alike for the kernel's noise.
bool Kriging::FactorFirst(const Kernel& kernel, size_t count, std::vector<double>& factor) const {
  factor.assign(count * count, 0);
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      factor[i * count + j] = Covariance(kernel, points_[i], points_[j]);
    }
    factor[i * count + i] += kernel[features_ + 1];
  }
  return Cholesky(factor, count);
}

// Of the first `count` points. Lengths are drawn a little to 3.
double Kriging::NegativeLikelihood(const std::vector<double>& parameters, size_t count) const {
  std::vector<double> factor;
  if (!FactorFirst(Spelled(parameters), count, factor)) return 1e9;
  std::vector<double> solved(values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(count));
  SolveLower(factor, count, solved);
  double value = 0;
  for (size_t i = 0; i < count; ++i) {
    value += solved[i] * solved[i] / 2 + std::log(factor[i * count + i]);
  }
  for (size_t i = 0; i < features_; ++i) {
    const double away = parameters[i] - std::log(3.0);
    value += 0.02 * away * away * static_cast<double>(count) / 400;
  }
  return value;
}

// One parameter after the other, in steps that shrink. Some hundred points tell lengths apart; more
// cost their number's cube.
void Kriging::FitParameters() {
  constexpr size_t kEnough = 400;
  const size_t count = std::min(points_.size(), kEnough);
  parameters_.assign(CountOf(features_), std::log(3.0));
  parameters_[features_] = std::log(0.04);
  parameters_[features_ + 1] = std::log(1e-3);
  double best = NegativeLikelihood(parameters_, count);
  for (double step = 1; step > 0.05; step *= 0.6) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      for (double direction : {step, -step}) {
        std::vector<double> next = parameters_;
        next[i] += direction;
        const double value = NegativeLikelihood(next, count);
        if (value >= best) continue;
        best = value;
        parameters_ = std::move(next);
        break;
      }
    }
  }
}

void Kriging::Solve() {
  const size_t count = points_.size();
  // Enough noise makes any points differ.
  while (kernel_ = Spelled(parameters_), !FactorFirst(kernel_, count, factor_)) {
    parameters_[features_ + 1] += 1;
  }
  weights_ = values_;
  SolveLower(factor_, count, weights_);
  SolveUpper(factor_, count, weights_);
  // Each point left out: it is off by weight / (K^-1)_ii, of a variance of 1 / (K^-1)_ii.
  std::vector<double> column(count);
  for (size_t i = 0; i < count; ++i) {
    std::fill(column.begin(), column.end(), 0);
    column[i] = 1;
    SolveLower(factor_, count, column);
    double inverse = 0;
    for (double x : column) inverse += x * x;
    left_out_.push_back({weights_[i] / inverse, 1 / std::sqrt(inverse)});
  }
}

Kriging::Guess Kriging::Of(const std::vector<double>& features) const {
  const size_t count = points_.size();
  std::vector<double> near(count);
  double mean = 0;
  for (size_t i = 0; i < count; ++i) {
    near[i] = Covariance(kernel_, features, points_[i]);
    mean += near[i] * weights_[i];
  }
  SolveLower(factor_, count, near);
  const double noise = kernel_[features_ + 1];
  double variance = kernel_[features_] + noise;
  for (double x : near) variance -= x * x;
  return {mean, std::sqrt(std::max(variance, noise))};
}

}  // namespace tp::predict
