// ProductFit: the time of matrix products of one element type, between those that were measured.
//
// A product takes what a launch does, and the larger (smoothly) of its bytes' time and its tiles'
// time: tiles of the fastest of some shapes come in waves over the multiprocessors. What is left,
// in the logarithm of time, is kriged (Rasmussen & Williams, "Gaussian Processes for Machine
// Learning", 2006, section 2.2; Matern 3/2) over the logarithms of the sizes and of how full the
// last waves are. The interval is the process's own, widened until nine of ten measured points,
// each left out in turn (the same, section 5.4.2), lie within theirs.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "sim/topology/machine.h"

namespace tp::predict {

struct ProductShape {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;

  auto operator<=>(const ProductShape&) const = default;
};

struct ProductPoint {
  ProductShape shape;
  double seconds = 0;
};

class ProductFit {
 public:
  // From 8 points or more of sizes above 0. `flops` is the device's peak of the type,
  // `element_bytes` its size. Takes a second for some hundred points; `parameters`, where they are
  // those of a fit of the same points, make that a tenth.
  ProductFit(std::vector<ProductPoint> points, const sim::DeviceSpec& device, double flops,
             double element_bytes, const std::vector<double>& parameters = {});

  struct Estimate {
    double seconds = 0;
    double spread = 1;  // nine times in ten within seconds / spread and * spread
  };
  Estimate Of(const ProductShape& shape) const;

  const std::vector<ProductPoint>& points() const { return points_; }
  std::vector<double> parameters() const;

 private:
  static constexpr int kTiles = 6;
  static constexpr int kTrend = kTiles + 3;
  static constexpr int kFeatures = 8;
  static constexpr int kKernel = kFeatures + 2;
  using Features = std::array<double, kFeatures>;
  using Trend = std::array<double, kTrend>;
  using Kernel = std::array<double, kKernel>;  // logarithms of lengths, variance, noise

  double LogTrend(const Trend& trend, const ProductShape& shape) const;
  Features FeaturesOf(const ProductShape& shape) const;
  static double Covariance(const Kernel& kernel, const Features& a, const Features& b);
  void FitTrend();
  void FitKernel();
  double NegativeLikelihood(const Kernel& kernel, size_t points) const;
  bool Factor();  // false where the points are too much alike for the kernel's noise
  void Solve();

  std::vector<ProductPoint> points_;
  const double multiprocessors_;
  const double flops_;
  const double bytes_per_second_;
  const double element_bytes_;
  Trend trend_ = {};
  Kernel kernel_ = {};
  double widen_ = 1;
  std::vector<Features> features_;
  std::vector<double> left_;     // of the logarithms, beside the trend
  std::vector<double> weights_;  // K^-1 left
  std::vector<double> factor_;   // Cholesky's, row-major
};

}  // namespace tp::predict
