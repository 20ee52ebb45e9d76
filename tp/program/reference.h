// Reference: what an op means, written once over a number type, in plain loops.
//
// With `double` it is the op's value, with DualNumber (tp/core/dual.h) its derivative as well. It
// shares no code with any backend's kernel, so that the two can be held against each other.
//
//   struct Square {
//     template <typename T>
//     static void Run(ReferenceCall<T>& call) {
//       for (size_t i = 0; i < call.in[0].size(); ++i) call.out[0][i] = call.in[0][i] *
//       call.in[0][i];
//     }
//   };
//   ... .reference = ReferenceOf<Square>()
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tp/core/dual.h"
#include "tp/program/attributes.h"
#include "tp/program/letters.h"

namespace tp {

// Operands and outputs are whole tensors, row-major; outputs have their size and are zero.
template <typename T>
struct ReferenceCall {
  const Letters& letters;  // without "*"
  const std::map<char, int64_t>& sizes;
  const Attributes& attributes;
  std::vector<std::vector<T>> in;
  std::vector<std::vector<T>> out;

  // The index, row-major, of the element of a tensor with dimensions `dims` where each letter of
  // the op has the value that `point` gives it.
  int64_t At(const std::string& dims, const std::map<char, int64_t>& point) const {
    int64_t index = 0;
    for (char letter : dims) index = index * sizes.at(letter) + point.at(letter);
    return index;
  }

  // Calls f(point) for every point of the letters in `over`.
  template <typename F>
  void ForEachPoint(const std::string& over, const F& f) const {
    std::map<char, int64_t> point;
    Descend(over, 0, point, f);
  }

 private:
  template <typename F>
  void Descend(const std::string& over, size_t depth, std::map<char, int64_t>& point,
               const F& f) const {
    if (depth == over.size()) {
      f(point);
      return;
    }
    int64_t& index = point[over[depth]];
    for (index = 0; index < sizes.at(over[depth]); ++index) Descend(over, depth + 1, point, f);
  }
};

struct Reference {
  void (*in_double)(ReferenceCall<double>&) = nullptr;
  void (*in_dual)(ReferenceCall<DualNumber>&) = nullptr;

  constexpr explicit operator bool() const { return in_double != nullptr; }
};

template <typename Op>
constexpr Reference ReferenceOf() {
  return {&Op::template Run<double>, &Op::template Run<DualNumber>};
}

}  // namespace tp
