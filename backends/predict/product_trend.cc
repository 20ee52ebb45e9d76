#include "backends/predict/product_trend.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "backends/predict/linear_algebra.h"

namespace tp::predict {
namespace {

struct Tile {
  double m, n;
};
constexpr Tile kLargeTile = {128, 256};
constexpr Tile kWaveTiles[] = {{64, 64}, {128, 64}, {64, 128}, {128, 128}, {128, 256}, {256, 128}};
constexpr Tile kSplitTiles[] = {{16, 64},  {16, 128},  {64, 16},   {32, 64},   {64, 32},
                                {64, 64},  {64, 128},  {128, 64},  {128, 128}, {64, 256},
                                {256, 64}, {128, 256}, {256, 128}, {256, 256}};
constexpr double kSplits[] = {1, 2, 3, 4, 6, 8, 16, 32};
constexpr double kStepK = 64;        // a tile's sums go over k in such steps
constexpr double kLeastSplit = 128;  // of k, where it is split
constexpr double kSumBytes = 4;      // of an element of what a split leaves to be added

// Where the parameters are. kLaunch, kMemory and kPower are of both laws.
enum Parameter { kLaunch, kMemory, kPower, kOwn };
enum SplitParameter { kRate = kOwn, kSmaller, kLoad, kBegin, kSplit, kAdd, kSplitCount };

double TilesOf(const ProductShape& shape, const Tile& tile) {
  return std::ceil(static_cast<double>(shape.m) / tile.m) *
         std::ceil(static_cast<double>(shape.n) / tile.n);
}

// log2 of how much of the last tile's rows is padding.
double Padding(int64_t m, double tile) {
  const auto rows = static_cast<double>(m);
  return std::log2(std::ceil(rows / tile) * tile / rows);
}

// Where the fit begins: what no point tells of stays there.
std::vector<double> StartOf(ProductLaw law, double least_log_seconds) {
  std::vector<double> start(ProductTrend::CountOf(law), 0.5);
  start[kLaunch] = least_log_seconds;
  if (law == ProductLaw::kWaves) {
    start[kMemory] = 0.3;
    start[kPower] = 1;
    return start;
  }
  start[kMemory] = 0.2;
  start[kPower] = 0.7;
  start[kRate] = 0.3;
  start[kSmaller] = 0.3;
  start[kLoad] = start[kAdd] = 0;
  start[kBegin] = start[kSplit] = least_log_seconds - 1;
  return start;
}

}  // namespace

size_t ProductTrend::CountOf(ProductLaw law) {
  return law == ProductLaw::kWaves ? kOwn + std::size(kWaveTiles) : size_t{kSplitCount};
}

ProductTrend::ProductTrend(ProductLaw law, const ProductDevice& device,
                           std::vector<double> parameters)
    : law_(law), device_(device), parameters_(std::move(parameters)) {
  for (double parameter : parameters_) spelled_.push_back(std::exp(parameter));
  if (law == ProductLaw::kWaves) return;
  const double flops = device_.flops / device_.multiprocessors;
  const double bytes = 2 * device_.bytes_per_second / device_.multiprocessors;
  for (const Tile& tile : kSplitTiles) {
    // Beside tiles of 128 x 256.
    const double smaller = std::log(128 * 256 / (tile.m * tile.n)) / 2;
    const double rate = std::exp(parameters_[kRate] + parameters_[kSmaller] * smaller);
    const double sums = 2 * tile.m * tile.n / flops * rate;
    const double loads = device_.element_bytes * (tile.m + tile.n) / bytes * spelled_[kLoad];
    tile_per_k_.push_back(std::max(sums, loads));
  }
}

double ProductTrend::WavesSeconds(const ProductShape& shape) const {
  double least = std::numeric_limits<double>::infinity();
  for (size_t t = 0; t < std::size(kWaveTiles); ++t) {
    const Tile& tile = kWaveTiles[t];
    const double waves = std::ceil(TilesOf(shape, tile) / device_.multiprocessors);
    const double one = tile.m * tile.n * static_cast<double>(shape.k) * 2 /
                       (device_.flops / device_.multiprocessors);
    least = std::min(least, waves * one * spelled_[kOwn + t]);
  }
  return least;
}

double ProductTrend::SplitSeconds(const ProductShape& shape) const {
  const auto k = static_cast<double>(shape.k);
  const double sums = static_cast<double>(shape.m) * static_cast<double>(shape.n);
  const double add = sums * kSumBytes / device_.bytes_per_second * spelled_[kAdd];
  double least = std::numeric_limits<double>::infinity();
  std::array<double, std::size(kSplitTiles)> tiles;
  for (size_t t = 0; t < tiles.size(); ++t) tiles[t] = TilesOf(shape, kSplitTiles[t]);
  for (double split : kSplits) {
    const double part = std::ceil(k / split / kStepK) * kStepK;
    if (split > 1 && (k / split < kLeastSplit || part * (split - 1) >= k)) continue;
    const double more = split > 1 ? spelled_[kSplit] + split * add : 0;
    for (size_t t = 0; t < tiles.size(); ++t) {
      const double waves = std::ceil(tiles[t] * split / device_.multiprocessors);
      least = std::min(least, waves * (part * tile_per_k_[t] + spelled_[kBegin]) + more);
    }
  }
  return least;
}

double ProductTrend::Of(const ProductShape& shape) const {
  const auto m = static_cast<double>(shape.m), n = static_cast<double>(shape.n),
             k = static_cast<double>(shape.k);
  const double compute = law_ == ProductLaw::kWaves ? WavesSeconds(shape) : SplitSeconds(shape);
  const double bytes = device_.element_bytes * (m * k + k * n + m * n);
  const double memory = bytes / device_.bytes_per_second * spelled_[kMemory];
  const double power = 1 + std::exp(std::clamp(parameters_[kPower], -3.0, 3.0));
  const double larger = std::max(compute, memory), smaller = std::min(compute, memory);
  const double smooth = larger * std::pow(1 + std::pow(smaller / larger, power), 1 / power);
  return std::log(spelled_[kLaunch] + smooth);
}

// The mean absolute error, so that a few odd points do not bend it; small steps away from where it
// began are free, so that what no point tells of stays there.
ProductTrend ProductTrend::Fitted(ProductLaw law, const ProductDevice& device,
                                  const std::vector<ProductPoint>& points) {
  double least = std::numeric_limits<double>::infinity();
  for (const ProductPoint& point : points) least = std::min(least, std::log(point.seconds));
  const std::vector<double> start = StartOf(law, least);
  const auto error = [&](const std::vector<double>& at) {
    const ProductTrend trend(law, device, at);
    double sum = 0, away = 0;
    for (const ProductPoint& point : points) {
      sum += std::abs(trend.Of(point.shape) - std::log(point.seconds));
    }
    for (size_t i = 1; i < at.size(); ++i) away += (at[i] - start[i]) * (at[i] - start[i]);
    return sum / static_cast<double>(points.size()) + 1e-4 * away;
  };
  std::vector<double> best = Minimize(error, start, 0.3, 1500);
  return ProductTrend(law, device, Minimize(error, best, 0.1, 1500));
}

double LargeTilesOf(const ProductShape& shape) { return TilesOf(shape, kLargeTile); }

std::vector<double> FullnessOf(const ProductShape& shape, double multiprocessors) {
  std::vector<double> features;
  for (const Tile& tile : {Tile{64, 64}, Tile{128, 128}, kLargeTile}) {
    const double tiles = TilesOf(shape, tile);
    const double slots = std::ceil(tiles / multiprocessors) * multiprocessors;
    features.push_back(std::min(6.0, std::log2(slots / tiles)));
  }
  features.push_back(Padding(shape.m, 64));
  features.push_back(Padding(shape.m, 16));
  return features;
}

}  // namespace tp::predict
