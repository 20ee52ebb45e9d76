// DualNumber: a number and its derivative along one direction, for forward-mode differentiation.
//
// Source: Griewank & Walther, "Evaluating Derivatives", 2nd ed., ch. 3. A function written once
// over a number type gives its value with `double`, and its directional derivative with DualNumber.
#pragma once

namespace tp {

struct DualNumber {
  double value = 0;
  double derivative = 0;

  constexpr DualNumber() = default;
  constexpr DualNumber(double v, double d = 0) : value(v), derivative(d) {}  // NOLINT: a constant

  friend constexpr DualNumber operator+(DualNumber a, DualNumber b) {
    return {a.value + b.value, a.derivative + b.derivative};
  }
  friend constexpr DualNumber operator-(DualNumber a, DualNumber b) {
    return {a.value - b.value, a.derivative - b.derivative};
  }
  friend constexpr DualNumber operator*(DualNumber a, DualNumber b) {
    return {a.value * b.value, a.derivative * b.value + a.value * b.derivative};
  }
  friend constexpr DualNumber operator-(DualNumber a) { return {-a.value, -a.derivative}; }
  friend constexpr DualNumber operator/(DualNumber a, DualNumber b) {
    const double quotient = a.value / b.value;
    return {quotient, (a.derivative - quotient * b.derivative) / b.value};
  }
  constexpr DualNumber& operator+=(DualNumber b) { return *this = *this + b; }
};

}  // namespace tp
