// BoundedNumber: a number, and how far any implementation's may be from it.
//
// A function written once over a number type gives its meaning with `double`; with BoundedNumber it
// gives a bound on |x - value| for the x of every implementation that works in the arithmetic which
// RoundingScope states: sums in any order, products fused with them or not, operands of the sizes
// that they have. What `double` itself rounds, here and in the bound, is part of the bound.
//
// A bound of 0 says that nothing can round. For that, each number knows a power of two of which it
// is a multiple: what is a multiple of g and at most 2^p g is a number of p bits, whatever the
// order in which it was worked out. So integers that are small enough prove themselves exact.
//
// A value may be the sum of what the ranks hold (Partial). Then every operation rounds on each
// rank, and `size` is at least the sum of the absolute values of their shares.
//
// Source: running error analysis; Higham, "Accuracy and Stability of Numerical Algorithms", 2nd
// ed., section 3.3. Exactness on a grid: nccl-tests' inputs, made a property of data.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tp/core/dtype.h"
#include "tp/core/roundoff.h"

namespace tp {

struct FunctionErrors;  // tp/core/elementary.h

// A type to which an implementation may round on the way.
struct Narrow {
  double roundoff = 0, underflow = 0;
  double smallest = 0;
  double largest = std::numeric_limits<double>::infinity();
};

// The arithmetic in which an implementation works.
struct Rounding {
  double roundoff = 0x1p-24;    // of one operation, relative
  double underflow = 0x1p-150;  // of one operation, absolute; MinNormal where it flushes to zero
  double capacity = 0x1p24;     // integers up to this are exact
  double smallest = 0x1p-149;   // all numbers are multiples of it
  double largest = 0x1.fffffep127;
  // Of each operand of a product, by a matrix unit that drops bits; 0: none.
  double operand_roundoff = 0;
  // Of the operands' type, where it is narrower than the accumulator; roundoff 0: it is not.
  Narrow narrow = {};
  // Of sums. Positive: the probabilistic bound may be taken where it is smaller.
  double lambda = 0;
  // The part of a sum's terms that one rank adds up at most, the other ranks' shares staying apart.
  double longest_share = 1;
  // Above 1: sums are cut into so many blocks, which meet along a tree of kSumTreeDepth additions.
  int blocks = 1;
  // Whether the ranks hold shares of what is worked out, and not itself.
  bool shared = false;
  // Of its elementary functions; null: nobody has worked them out.
  const FunctionErrors* functions = nullptr;
};

// IEEE arithmetic in `dtype`: round to nearest, gradual underflow.
Rounding RoundingOf(DType dtype);
// The same in the accumulator of operands of `dtype`.
Rounding RoundingOn(DType dtype);

// Sets the arithmetic of BoundedNumbers on this thread while it lives.
class RoundingScope {
 public:
  explicit RoundingScope(const Rounding& rounding) : before_(current_) { current_ = rounding; }
  ~RoundingScope() { current_ = before_; }
  RoundingScope(const RoundingScope&) = delete;
  RoundingScope& operator=(const RoundingScope&) = delete;

  static const Rounding& Current() { return current_; }

 private:
  static inline constinit thread_local Rounding current_ = {};
  const Rounding before_;
};

// The largest power of two of which a finite `value` is a multiple; infinite for 0.
inline double GridOf(double value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  const uint64_t fraction = bits & 0xfffffffffffffu;
  const auto exponent = static_cast<int>(bits >> 52 & 0x7ffu);
  if (exponent == 0) {
    if (fraction == 0) return std::numeric_limits<double>::infinity();
    return std::ldexp(1.0, std::countr_zero(fraction) - 1074);
  }
  return std::ldexp(1.0, exponent - 1075 + std::countr_zero(fraction | uint64_t{1} << 52));
}

struct BoundedNumber {
  double value = 0;
  double error = 0;
  double size = 0;  // |value|, or more where ranks hold shares of it
  // Value and shares are multiples of it; 0 where nothing is known. Infinite of 0.
  double grid = std::numeric_limits<double>::infinity();
  // Whether the ranks hold shares of it, of which `size` then is the sum of the absolute values.
  bool shares = false;

  constexpr BoundedNumber() = default;
  constexpr BoundedNumber(double v, double e, double s, double g, bool are_shares = false)
      : value(v), error(e), size(s), grid(g), shares(are_shares) {}
  // A constant, which the implementation rounds as well.
  BoundedNumber(double v)  // NOLINT: as arithmetic has it
      : BoundedNumber(Rounded(v, 0, std::abs(v), std::isfinite(v) ? GridOf(v) : 0)) {}

  // An element that is there, to the bit.
  static BoundedNumber Exactly(double v) {
    return {v, 0, std::abs(v), std::isfinite(v) ? GridOf(v) : 0};
  }

  // What an operation of the current arithmetic makes of a result that is off by `error` already.
  static BoundedNumber Rounded(double value, double error, double size, double grid,
                               bool shares = false) {
    const Rounding& r = RoundingScope::Current();
    if (error == 0 && size <= r.capacity * grid && size <= r.largest && grid >= r.smallest) {
      return {value, 0, size, grid, shares};
    }
    double bound = error + r.roundoff * (size + error) + r.underflow;
    bound = (bound + kOwnRoundoff * std::abs(value) + kOwnUnderflow) * kSlack;
    if (!(size + bound <= r.largest)) bound = std::numeric_limits<double>::infinity();
    return {value, bound, size, 0, shares};
  }

  friend BoundedNumber operator-(BoundedNumber a) {
    return {-a.value, a.error, a.size, a.grid, a.shares};
  }
  friend BoundedNumber operator+(BoundedNumber a, BoundedNumber b) {
    const double sum = a.value + b.value;
    const bool shares = a.shares || b.shares;
    const double size = shares ? a.size + b.size : std::abs(sum);
    return Rounded(sum, a.error + b.error, size, std::fmin(a.grid, b.grid), shares);
  }
  friend BoundedNumber operator-(BoundedNumber a, BoundedNumber b) { return a + -b; }
  friend BoundedNumber operator*(BoundedNumber a, BoundedNumber b) {
    a = Operand(a);
    b = Operand(b);
    if ((a.IsZero() && std::isfinite(b.error)) || (b.IsZero() && std::isfinite(a.error))) {
      return Exactly(a.value * b.value);
    }
    const double product = a.value * b.value;
    const bool shares = a.shares || b.shares;
    const double size = shares ? a.size * b.size : std::abs(product);
    const bool known = a.grid > 0 && b.grid > 0;
    const double error =
        std::abs(a.value) * b.error + std::abs(b.value) * a.error + a.error * b.error;
    return Rounded(product, error, size, known ? a.grid * b.grid : 0, shares);
  }
  friend BoundedNumber operator/(BoundedNumber a, BoundedNumber b) {
    const double quotient = a.value / b.value;
    const double divisor = std::abs(b.value) - b.error;
    if (!(divisor > 0)) return Unbounded(quotient);
    const double size = a.shares ? a.size / divisor : std::abs(quotient);
    return Rounded(quotient, (a.error + std::abs(quotient) * b.error) / divisor, size, 0, a.shares);
  }
  BoundedNumber& operator+=(BoundedNumber b) { return *this = *this + b; }

  // What rounding `x` to the operands' type may add to it: 0, more or less.
  static BoundedNumber Narrowing(const BoundedNumber& x) {
    const Narrow& to = RoundingScope::Current().narrow;
    BoundedNumber change;
    if (to.roundoff == 0) return change;
    const bool fits = x.error == 0 && x.size * to.roundoff <= x.grid && x.grid >= to.smallest;
    if (!(x.size + x.error <= to.largest)) return Unbounded(0);
    if (!fits) change.error = (to.roundoff * (x.size + x.error) + to.underflow) * kSlack;
    return change;
  }
  // `x`, rounded to the operands' type or not.
  static BoundedNumber Narrowed(BoundedNumber x) {
    const BoundedNumber change = Narrowing(x);
    if (change.error == 0) return x;
    return {x.value, (x.error + change.error) * kSlack, x.size, 0, x.shares};
  }

  // For certain, on every rank.
  bool IsZero() const { return value == 0 && error == 0 && size == 0; }

  // Anything may stand there.
  static BoundedNumber Unbounded(double value) {
    return {value, std::numeric_limits<double>::infinity(), std::abs(value), 0};
  }

  // Of the reference: a rounding and an underflow of double. And what the few operations of a bound
  // can take off it.
  static constexpr double kOwnRoundoff = 0x1p-53;
  static constexpr double kOwnUnderflow = std::numeric_limits<double>::denorm_min();
  static constexpr double kSlack = 1 + 0x1p-49;

 private:
  static BoundedNumber Operand(BoundedNumber a) {
    const double u = RoundingScope::Current().operand_roundoff;
    if (u == 0 || (a.error == 0 && a.size * u <= a.grid)) return a;
    return {a.value, (a.error + u * (a.size + a.error)) * kSlack, a.size, 0, a.shares};
  }
};

// The sum of terms in whatever order, over whatever ranks. n terms take n - 1 additions, and what
// an addition gives is the sum of some of the terms: no less than the negative ones together, no
// more than the positive ones. (Hallman & Ipsen, "Precision-aware deterministic and probabilistic
// error bounds for floating point summation", 2023, for the probabilistic form.) Holds no terms: it
// adds up what the bound needs.
class BoundedSum {
 public:
  void Add(const BoundedNumber& term) {
    // Neumaier's sum: as good as twice the precision.
    const double sum = value_ + term.value;
    low_ += std::abs(value_) >= std::abs(term.value) ? (value_ - sum) + term.value
                                                     : (term.value - sum) + value_;
    value_ = sum;
    error_ += term.error;
    size_ += term.size;
    (term.value > 0 ? positive_ : negative_) += std::abs(term.value);
    grid_ = std::fmin(grid_, term.grid);
    ++terms_;
  }
  BoundedNumber Total() const;

 private:
  double value_ = 0;
  double low_ = 0;
  double error_ = 0;
  double size_ = 0;  // of the terms
  double positive_ = 0;
  double negative_ = 0;
  double grid_ = std::numeric_limits<double>::infinity();
  int64_t terms_ = 0;
};

}  // namespace tp
