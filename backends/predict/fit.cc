#include "backends/predict/fit.h"

#include <algorithm>
#include <cmath>

namespace tp::predict {
namespace {

// What a member copies of its own while it sends, as a part of the array over the members; and for
// all_reduce in a switch that adds (NVLS), what it takes of eight members beside two. Both from the
// NCCL tables of aiconfigurator-core 0.12.0, at 4 and 8 GPUs of four types, and much the same on
// each: see docs/prediction.md, which also has what they are without the type that is predicted.
struct Law {
  double own = 0;        // copied
  int (*hops)(int) = 0;  // one after the other
};
Law LawOf(CollectiveKind kind) {
  const auto ring = [](int p) { return p - 1; };
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return {0.4, [](int p) { return 2 * (p - 1); }};
    case CollectiveKind::kAllGather:
      return {0.45, ring};
    case CollectiveKind::kReduceScatter:
      return {0.5, ring};
    default:
      return {0.2, [](int) { return 1; }};
  }
}
constexpr double kAddingSwitch = 1.35;
// Of what this law predicted on those tables, nine in ten lie within so many times.
constexpr double kLawSpread = 1.25;

double WorkOf(CollectiveKind kind, int members) {
  return BusBandwidthFactor(kind, members) + LawOf(kind).own / members;
}

}  // namespace

double Curve::Without(double size, double skip) const {
  auto above = points_.lower_bound(size);
  if (above != points_.end() && above->first == skip) ++above;
  auto below = above;
  bool has_below = false;
  while (below != points_.begin()) {
    --below;
    if (below->first != skip) {
      has_below = true;
      break;
    }
  }
  if (above == points_.end()) return has_below ? below->second * size / below->first : 0;
  if (!has_below) return above->second;
  const double part = std::log(size / below->first) / std::log(above->first / below->first);
  return below->second * std::pow(above->second / below->second, part);
}

double Curve::Of(double size) const {
  const auto found = points_.find(size);
  return found != points_.end() ? found->second : Without(size, -1);
}

double Curve::Spread() const {
  std::vector<double> off;
  for (const auto& [size, seconds] : points_) {
    const bool inner = size != points_.begin()->first && size != points_.rbegin()->first;
    if (inner) off.push_back(std::abs(std::log(Without(size, size) / seconds)));
  }
  if (off.empty()) return kLawSpread;
  std::sort(off.begin(), off.end());
  const auto nth = static_cast<size_t>(std::ceil(0.9 * static_cast<double>(off.size() + 1))) - 1;
  return std::exp(off[std::min(off.size() - 1, nth)]);
}

Fit::Fit(Measurements measurements, const sim::Machine& machine)
    : measurements_(std::move(measurements)), switch_adds_(machine.within.adds) {
  std::map<DType, std::vector<ProductPoint>> products;
  for (const MeasuredProduct& product : measurements_.products) {
    products[product.dtype].push_back({product.shape, product.us * 1e-6});
    measured_products_[{product.dtype, product.shape}] = product.us * 1e-6;
    names_.insert(NameOf(product));
  }
  for (auto& [dtype, points] : products) {
    if (points.size() < 8) continue;
    const auto known = measurements_.product_parameters.find(dtype);
    products_[dtype] = std::make_unique<ProductFit>(
        std::move(points), machine.device, machine.device.FlopsOf(dtype),
        static_cast<double>(SizeOf(dtype)),
        known == measurements_.product_parameters.end() ? std::vector<double>() : known->second);
  }
  for (const MeasuredOp& op : measurements_.ops) {
    ops_[{op.action, op.dtype}].Add(op.bytes, op.us * 1e-6);
    names_.insert(NameOf(op));
  }
  for (const MeasuredCollective& collective : measurements_.collectives) {
    collectives_[{collective.kind, collective.members}].Add(collective.bytes, collective.us * 1e-6);
    names_.insert(NameOf(collective));
  }
}

void Fit::Take(const Measurements& timed) {
  timed_spread_ = std::max(timed_spread_, 1 + timed.repeat_floor);
  for (const MeasuredProduct& product : timed.products) {
    timed_products_[{product.dtype, product.shape}] = product.us * 1e-6;
  }
  for (const MeasuredOp& op : timed.ops) {
    timed_ops_[{op.action, op.dtype, op.bytes}] = op.us * 1e-6;
  }
}

std::map<DType, std::vector<double>> Fit::ProductParameters() const {
  std::map<DType, std::vector<double>> all;
  for (const auto& [dtype, fit] : products_) all[dtype] = fit->parameters();
  return all;
}

std::optional<Estimated> Fit::Product(DType dtype, const ProductShape& shape) const {
  const auto timed = timed_products_.find({dtype, shape});
  if (timed != timed_products_.end()) return Estimated{timed->second, timed_spread_, true};
  const auto found = measured_products_.find({dtype, shape});
  if (found != measured_products_.end()) {
    return Estimated{found->second, 1 + measurements_.repeat_floor, true};
  }
  const auto fit = products_.find(dtype);
  if (fit == products_.end() || std::min({shape.m, shape.n, shape.k}) < 1) return std::nullopt;
  const ProductFit::Estimate estimate = fit->second->Of(shape);
  return Estimated{estimate.seconds, estimate.spread, false};
}

std::optional<Estimated> Fit::Op(const std::string& action, DType dtype, double bytes) const {
  const auto timed = timed_ops_.find({action, dtype, bytes});
  if (timed != timed_ops_.end()) return Estimated{timed->second, timed_spread_, true};
  const auto found = ops_.find({action, dtype});
  if (found == ops_.end()) return std::nullopt;
  return Estimated{found->second.Of(bytes), found->second.Spread(), found->second.Has(bytes)};
}

std::optional<Estimated> Fit::Collective(CollectiveKind kind, int members, double bytes) const {
  const auto found = collectives_.find({kind, members});
  if (found != collectives_.end()) {
    const Curve& curve = found->second;
    return Estimated{curve.Of(bytes), curve.Spread(), curve.Has(bytes)};
  }
  const auto pair = collectives_.find({kind, 2});
  const auto reduce = collectives_.find({CollectiveKind::kAllReduce, 2});
  const auto gather = collectives_.find({CollectiveKind::kAllGather, 2});
  if (pair == collectives_.end() || reduce == collectives_.end() || gather == collectives_.end()) {
    return std::nullopt;
  }
  // An all_reduce of two is two hops, an all_gather one.
  const double hop = std::max(0.0, reduce->second.first() - gather->second.first());
  const double hops = hop * (LawOf(kind).hops(members) - LawOf(kind).hops(2));
  double work = WorkOf(kind, members) / WorkOf(kind, 2);
  if (switch_adds_ && kind == CollectiveKind::kAllReduce && members >= 8) {
    work = std::min(work, kAddingSwitch);
  }
  return Estimated{pair->second.Of(bytes * work) + hops, kLawSpread, false};
}

}  // namespace tp::predict
