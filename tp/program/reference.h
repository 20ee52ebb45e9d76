// Reference: what an op means, written once over a number type, in plain loops.
//
// With `double` it is the op's value, with DualNumber (tp/core/dual.h) its derivative as well, with
// BoundedNumber (tp/core/bounded.h) a bound on what any implementation may make of it. It shares no
// code with any backend's kernel, so that the two can be held against each other.
//
//   struct Square {
//     template <typename T>
//     static void Run(ReferenceCall<T>& call) {
//       for (size_t i = 0; i < call.in[0].size(); ++i) call.out[0][i] = call.in[0][i] *
//       call.in[0][i];
//     }
//   };
//   ... .reference = ReferenceOf<Square>()
//
// A sum over a dimension is a SumOf, and no chain of additions: an implementation takes it in any
// order, and over any number of ranks. What an implementation rounds beside, a constant or an
// operation, is an operation of the reference too.
//
// A call may be of a part: letters that are not `whole` may have a few of their indices only, and
// `begin` says which index of the whole comes first.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tp/core/bounded.h"
#include "tp/core/dual.h"
#include "tp/program/attributes.h"
#include "tp/program/letters.h"

namespace tp {

// The sum of terms, in an order that nobody states.
template <typename T>
class SumOf {
 public:
  void Add(const T& term) { total_ += term; }
  T Total() const { return total_; }

 private:
  T total_ = 0;
};
template <>
class SumOf<BoundedNumber> : public BoundedSum {};

// The number itself: what a reference may decide by, such as which of two is greater.
inline double ValueOf(double x) { return x; }
inline double ValueOf(const DualNumber& x) { return x.value; }
inline double ValueOf(const BoundedNumber& x) { return x.value; }

// The greater of two.
template <typename T>
T Greater(const T& a, const T& b) {
  return ValueOf(a) > ValueOf(b) ? a : b;
}
// No further off than either of them.
inline BoundedNumber Greater(const BoundedNumber& a, const BoundedNumber& b) {
  return {std::fmax(a.value, b.value), std::fmax(a.error, b.error), std::fmax(a.size, b.size),
          std::fmin(a.grid, b.grid), a.shares || b.shares};
}

// `x` where an implementation may round it to the operands' type, though it works in a wider one.
template <typename T>
T Narrowed(const T& x) {
  return x;
}
inline BoundedNumber Narrowed(const BoundedNumber& x) { return BoundedNumber::Narrowed(x); }

// What such a rounding may add to `x`: a term of its own, where `x` is only a part of a sum.
template <typename T>
T Narrowing(const T&) {
  return T(0);
}
inline BoundedNumber Narrowing(const BoundedNumber& x) { return BoundedNumber::Narrowing(x); }

// While it lives, what is worked out lies whole on one rank, though ranks hold shares of the
// output: a term of the sum that is cut.
template <typename T>
struct OnOneRank {};
template <>
class [[nodiscard]] OnOneRank<BoundedNumber> {
 public:
  OnOneRank() : scope_(Whole(RoundingScope::Current())) {}

 private:
  static Rounding Whole(Rounding rounding) {
    rounding.shared = false;
    rounding.longest_share = 1;
    return rounding;
  }

  const RoundingScope scope_;
};

// A number for each letter.
class ByLetter {
 public:
  ByLetter() = default;
  explicit ByLetter(const std::map<char, int64_t>& numbers) {
    for (const auto& [letter, number] : numbers) (*this)[letter] = number;
  }
  int64_t& operator[](char letter) { return numbers_[static_cast<unsigned char>(letter) % 128]; }
  int64_t operator[](char letter) const {
    return numbers_[static_cast<unsigned char>(letter) % 128];
  }

 private:
  std::array<int64_t, 128> numbers_ = {};
};

// Operands and outputs are whole tensors, row-major; outputs have their size and are zero.
template <typename T>
struct ReferenceCall {
  const Letters& letters;  // without "*"
  const std::map<char, int64_t>& sizes;
  const Attributes& attributes;
  std::vector<std::vector<T>> in;
  std::vector<std::vector<T>> out;
  ByLetter extent = ByLetter(sizes);
  ByLetter begin = {};      // of each letter's part in the whole
  ByLetter whole = extent;  // how long that is

  // The index, row-major, of the element of a tensor with dimensions `dims` where each letter of
  // the op has the value that `point` gives it.
  int64_t At(const std::string& dims, const ByLetter& point) const {
    int64_t index = 0;
    for (char letter : dims) index = index * extent[letter] + point[letter];
    return index;
  }

  // Calls f(point) for every point of the letters in `over`.
  template <typename F>
  void ForEachPoint(const std::string& over, const F& f) const {
    ByLetter point;
    Descend(over, 0, point, f);
  }
  // The same with the other letters as `point` has them.
  template <typename F>
  void ForEachPoint(const std::string& over, ByLetter& point, const F& f) const {
    Descend(over, 0, point, f);
  }

 private:
  template <typename F>
  void Descend(const std::string& over, size_t depth, ByLetter& point, const F& f) const {
    if (depth == over.size()) {
      f(point);
      return;
    }
    int64_t& index = point[over[depth]];
    for (index = 0; index < extent[over[depth]]; ++index) Descend(over, depth + 1, point, f);
  }
};

struct Reference {
  void (*in_double)(ReferenceCall<double>&) = nullptr;
  void (*in_dual)(ReferenceCall<DualNumber>&) = nullptr;
  void (*in_bounded)(ReferenceCall<BoundedNumber>&) = nullptr;

  constexpr explicit operator bool() const { return in_double != nullptr; }
};

template <typename Op>
constexpr Reference ReferenceOf() {
  return {&Op::template Run<double>, &Op::template Run<DualNumber>,
          &Op::template Run<BoundedNumber>};
}

}  // namespace tp
