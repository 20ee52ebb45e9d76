#include "tp/core/bounded.h"

#include <algorithm>

#include "tp/core/sum_order.h"

namespace tp {

Rounding RoundingOf(DType dtype) {
  Rounding rounding;
  rounding.roundoff = UnitRoundoff(dtype);
  rounding.underflow = UnderflowUnit(dtype);
  rounding.capacity = 1 / UnitRoundoff(dtype);
  rounding.smallest = 2 * UnitRoundoff(dtype) * MinNormal(dtype);
  rounding.largest = MaxFinite(dtype);
  return rounding;
}

Rounding RoundingOn(DType dtype) {
  Rounding rounding = RoundingOf(AccumulatorOf(dtype));
  if (SizeOf(dtype) >= SizeOf(AccumulatorOf(dtype))) return rounding;  // int32 too
  const Rounding own = RoundingOf(dtype);
  rounding.narrow = {own.roundoff, own.underflow, own.smallest, own.largest};
  return rounding;
}

BoundedNumber BoundedSum::Total() const {
  const Rounding& r = RoundingScope::Current();
  const auto terms = static_cast<double>(terms_);
  const double value = value_ + low_;
  const double size = r.shared ? size_ : std::abs(value);
  if (error_ == 0 && size_ <= r.capacity * grid_ && size_ <= r.largest && grid_ >= r.smallest) {
    return {value, 0, size, grid_, r.shared};
  }
  if (terms_ == 1) return {value, error_, size, grid_, r.shared};
  // Along a tree, or over ranks, each term goes through so many additions at most; on one rank
  // there are so many in all.
  const bool apart = r.blocks > 1 || r.shared;
  const double additions = r.blocks > 1 ? std::ceil(terms / r.blocks) + kSumTreeDepth
                                        : std::max(0.0, std::ceil(terms * r.longest_share) - 1);
  const double reached = (apart ? size_ : std::max(positive_, negative_)) + error_;
  double factor = Gamma(additions, r.roundoff);
  if (r.lambda > 0) {
    const double likely = ProbabilisticGamma(additions, r.roundoff, r.lambda);
    if (likely < 0.5) factor = std::min(factor, likely / (1 - likely));
  }
  // An addition can underflow where it flushes to zero.
  double bound = error_ + factor * reached + (1 + factor) * terms * r.underflow;
  // Neumaier's own error, by Ogita, Rump & Oishi, "Accurate sum and dot product", 2005, prop. 4.4.
  const double own = Gamma(terms, BoundedNumber::kOwnRoundoff);
  bound += BoundedNumber::kOwnRoundoff * std::abs(value) + own * own * size_;
  bound *= 1 + Gamma(terms + 16, BoundedNumber::kOwnRoundoff);
  if (!(size_ + bound <= r.largest)) bound = std::numeric_limits<double>::infinity();
  return {value, bound, size, 0, r.shared};
}

}  // namespace tp
