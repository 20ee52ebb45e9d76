// Fit: what a machine's measurements say of what was not measured.
//
// Products: product_fit.h. Other ops: between the measured sizes of the same action and type, by
// bytes. Collectives: between the measured sizes of the same kind and number of members; where only
// two members were measured, by what those took: a member more is a hop more for small arrays, and
// for large ones the bytes that each then sends and copies.
//
// Products and ops that were timed for what is to be predicted come before all that: they are
// taken as they are, and nothing is fitted on them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "backends/predict/measurements.h"
#include "backends/predict/product_fit.h"
#include "sim/topology/machine.h"

namespace tp::predict {

// Between points of (size, time), both above 0: straight in their logarithms. Below the first the
// time is the first's; beyond the last it grows as the size does.
class Curve {
 public:
  void Add(double size, double seconds) { points_[size] = seconds; }
  bool empty() const { return points_.empty(); }
  double Of(double size) const;
  bool Has(double size) const { return points_.contains(size); }
  double first() const { return points_.begin()->second; }
  // Nine in ten points, each left out in turn, lie within so many times what the others say.
  double Spread() const;

 private:
  double Without(double size, double skip) const;
  std::map<double, double> points_;
};

struct Estimated {
  double seconds = 0;
  double spread = 1;
  bool measured = false;  // at this very point
};

class Fit {
 public:
  Fit(Measurements measurements, const sim::Machine& machine);
  // From now on these come before what was fitted.
  void Take(const Measurements& timed);

  std::optional<Estimated> Product(DType dtype, const ProductShape& shape) const;
  std::optional<Estimated> Op(const std::string& action, DType dtype, double bytes) const;
  std::optional<Estimated> Collective(CollectiveKind kind, int members, double bytes) const;

  const Measurements& measurements() const { return measurements_; }
  // By NameOf, all that it was fitted on.
  const std::set<std::string>& names() const { return names_; }
  // What a machine file keeps so that reading it takes no second.
  std::map<DType, std::vector<double>> ProductParameters() const;

 private:
  Measurements measurements_;
  bool switch_adds_ = false;
  std::map<DType, std::unique_ptr<ProductFit>> products_;
  std::map<std::pair<DType, ProductShape>, double> measured_products_;
  std::map<std::pair<std::string, DType>, Curve> ops_;
  std::map<std::pair<CollectiveKind, int>, Curve> collectives_;
  std::map<std::pair<DType, ProductShape>, double> timed_products_;
  std::map<std::tuple<std::string, DType, double>, double> timed_ops_;
  double timed_spread_ = 1;  // of all that was timed
  std::set<std::string> names_;
};

}  // namespace tp::predict
