#include "backends/predict/product_fit.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace tp::predict {
namespace {

constexpr ProductLaw kLaws[] = {ProductLaw::kWaves, ProductLaw::kSplit};

// The sizes, and of the one law five of fullness, of the other its own time; and of both whether
// operands are turned, and what comes out, where some are.
size_t FeatureCountOf(ProductLaw law, size_t turned) {
  return (law == ProductLaw::kWaves ? 8 : 4) + turned;
}

size_t ParameterCountOf(ProductLaw law, size_t turned) {
  return ProductTrend::CountOf(law) + Kriging::CountOf(FeatureCountOf(law, turned));
}

}  // namespace

ProductFit::ProductFit(std::vector<ProductPoint> points, const sim::DeviceSpec& device,
                       double flops, double element_bytes, const std::vector<double>& parameters)
    : points_(std::move(points)),
      device_({static_cast<double>(device.multiprocessors), flops, device.memory_bytes_per_second,
               element_bytes}) {
  CHECK_GE(points_.size(), 8u);
  for (const ProductPoint& point : points_) {
    if (point.shape.a_turned || point.shape.b_turned) turned_ = std::max<size_t>(turned_, 2);
    if (point.shape.c_turned) turned_ = 3;
  }
  size_t count = 0;
  for (ProductLaw law : kLaws) count += ParameterCountOf(law, turned_);
  const bool known = parameters.size() == count;
  auto at = parameters.begin();
  for (ProductLaw law : kLaws) {
    std::vector<double> own;
    if (known) {
      const auto end = at + static_cast<std::ptrdiff_t>(ParameterCountOf(law, turned_));
      // From a file: whatever it says, numbers stay numbers.
      for (; at != end; ++at) own.push_back(std::clamp(*at, -30.0, 30.0));
    }
    AddPart(law, own);
  }
  // The mean of both, each point left out.
  std::vector<double> off;
  for (size_t i = 0; i < points_.size(); ++i) {
    double error = 0, deviation = 0;
    for (const Part& part : parts_) {
      error += part.left.left_out()[i].mean;
      deviation += part.left.left_out()[i].deviation;
    }
    off.push_back(std::abs(error) / deviation);
  }
  std::sort(off.begin(), off.end());
  const double rank = std::ceil(0.9 * (static_cast<double>(off.size()) + 1));
  widen_ = off[std::min(off.size(), static_cast<size_t>(rank)) - 1];
}

void ProductFit::AddPart(ProductLaw law, const std::vector<double>& parameters) {
  const bool known = !parameters.empty();
  const auto split =
      parameters.begin() + static_cast<std::ptrdiff_t>(known ? ProductTrend::CountOf(law) : 0);
  ProductTrend trend = known ? ProductTrend(law, device_, {parameters.begin(), split})
                             : ProductTrend::Fitted(law, device_, points_);
  std::vector<std::vector<double>> features;
  std::vector<double> left;
  for (const ProductPoint& point : points_) {
    features.push_back(FeaturesOf(law, trend, point.shape));
    left.push_back(std::log(point.seconds) - trend.Of(point.shape));
  }
  Kriging kriging(std::move(features), std::move(left), {split, parameters.end()});
  parts_.push_back({law, std::move(trend), std::move(kriging)});
}

std::vector<double> ProductFit::FeaturesOf(ProductLaw law, const ProductTrend& trend,
                                           const ProductShape& shape) const {
  std::vector<double> features = {std::log2(static_cast<double>(shape.m)),
                                  std::log2(static_cast<double>(shape.n)),
                                  std::log2(static_cast<double>(shape.k))};
  if (law == ProductLaw::kSplit) {
    features.push_back(trend.Of(shape));
  } else {
    const std::vector<double> fullness = FullnessOf(shape, device_.multiprocessors);
    features.insert(features.end(), fullness.begin(), fullness.end());
  }
  for (bool turned : {shape.a_turned, shape.b_turned, shape.c_turned}) {
    if (features.size() < FeatureCountOf(law, turned_)) features.push_back(turned);
  }
  return features;
}

std::vector<double> ProductFit::parameters() const {
  std::vector<double> all;
  for (const Part& part : parts_) {
    for (const auto* own : {&part.trend.parameters(), &part.left.parameters()}) {
      all.insert(all.end(), own->begin(), own->end());
    }
  }
  return all;
}

ProductFit::Estimate ProductFit::Of(const ProductShape& shape) const {
  double log = 0, deviation = 0;
  for (const Part& part : parts_) {
    const Kriging::Guess left = part.left.Of(FeaturesOf(part.law, part.trend, shape));
    const auto count = static_cast<double>(parts_.size());
    log += (part.trend.Of(shape) + left.mean) / count;
    deviation += left.deviation / count;
  }
  return {std::exp(log), std::exp(widen_ * deviation)};
}

}  // namespace tp::predict
