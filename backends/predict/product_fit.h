// ProductFit: the time of matrix products of one element type, between those that were measured.
//
// Two laws (product_trend.h) are fitted, and what each leaves, in the logarithm of time, is kriged:
// beside the one over the logarithms of the sizes and of how full the last waves are, beside the
// other over those of the sizes and of the time that it says. The mean of both is off by less than
// either, since what makes one err seldom makes both. The interval is the mean of the processes'
// own, widened until nine of ten measured points, each left out in turn, lie within theirs.
#pragma once

#include <vector>

#include "backends/predict/kriging.h"
#include "backends/predict/product_trend.h"
#include "sim/topology/machine.h"

namespace tp::predict {

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
  struct Part {
    ProductLaw law;
    ProductTrend trend;
    Kriging left;  // beside the trend
  };
  void AddPart(ProductLaw law, const std::vector<double>& parameters);
  std::vector<double> FeaturesOf(ProductLaw law, const ProductTrend& trend,
                                 const ProductShape& shape) const;

  const std::vector<ProductPoint> points_;
  const ProductDevice device_;
  size_t turned_ = 0;  // features that say what is turned, where something is
  std::vector<Part> parts_;
  double widen_ = 1;
};

}  // namespace tp::predict
