#include "tp/ops/rope.h"

#include <cmath>
#include <numbers>

#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

// A cosine or sine of `angle`, which libraries work out in double, each within two units in the
// last place or better (CUDA C++ Programming Guide, mathematical functions; glibc's manual).
template <typename T>
T OfAngle(double value, double) {
  return T(value);
}
template <>
BoundedNumber OfAngle(double value, double angle) {
  BoundedNumber number(value);
  if (angle == 0) return number;          // exact everywhere
  constexpr double kUnits = 3 * 0x1p-52;  // one of them here
  number.error += kUnits * std::abs(value);
  number.grid = 0;
  return number;
}

struct RopeReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string x = call.letters.operands()[0];
    const std::string rows = x.substr(0, x.size() - 1);
    const int64_t size = call.extent['d'];
    const int64_t half = size / 2;
    const bool interleaved = call.attributes.Integer("interleaved") != 0;
    call.ForEachPoint(rows, [&](const ByLetter& row) {
      const auto position = static_cast<double>(call.begin['s'] + row['s']);
      ByLetter at = row;
      const auto element = [&](int64_t d) {
        at['d'] = d;
        return call.At(x, at);
      };
      for (int64_t i = 0; i < half; ++i) {
        const double angle =
            call.attributes.Number("turns") * position * TurnOf(call.attributes, i, size);
        const T cosine = OfAngle<T>(std::cos(angle), angle);
        const T sine = OfAngle<T>(std::sin(angle), angle);
        const int64_t at_first = element(interleaved ? 2 * i : i);
        const int64_t at_second = element(interleaved ? 2 * i + 1 : half + i);
        const T first = call.in[0][at_first], second = call.in[0][at_second];
        call.out[0][at_first] = first * cosine - second * sine;
        call.out[0][at_second] = second * cosine + first * sine;
      }
      if (size % 2 != 0) call.out[0][element(size - 1)] = call.in[0][element(size - 1)];
    });
  }
};

Status ReverseRope(Reverse& r) {
  if (!r.Needs(0)) return OkStatus();
  Attributes back = r.attributes();
  back.Set("turns", -r.attributes().Number("turns"));
  return r.Give(0, kRope, {r.gradient(0)}, std::move(back));
}

}  // namespace

double TurnOf(const Attributes& attributes, int64_t pair, int64_t size) {
  const auto number = [&](const char* name) { return attributes.Number(name); };
  const double turn =
      std::pow(number("base"), -2.0 * static_cast<double>(pair) / static_cast<double>(size));
  const double slow = turn / number("factor");
  if (number("original") <= 0) return slow;
  const double turns = number("original") * turn / (2 * std::numbers::pi);  // while it was trained
  if (turns < number("low")) return slow;
  if (turns > number("high")) return turn;
  const double kept = (turns - number("low")) / (number("high") - number("low"));
  return (1 - kept) * slow + kept * turn;
}

Attributes RopeAttributes(const RopeOptions& options) {
  return {{"base", options.base},
          {"turns", 1.0},
          {"interleaved", int64_t{options.interleaved}},
          {"factor", options.factor},
          {"original", options.original},
          {"low", options.low},
          {"high", options.high}};
}

// Turns pair i of each head by `turns` s times what RopeOptions say of it, where s is the place in
// the sequence; what turns back is the same op with the other sign. Of an odd number of elements
// the last one stays. Su et al., "RoFormer", 2021.
constinit const OpDef kRope = {
    .name = "rope",
    .letters = "bs*d -> bs*d",
    .whole = "d",
    .linear = true,
    .attributes = {AttributeDef{"base"}, AttributeDef{"turns"},
                   AttributeDef{"interleaved", AttributeType::kInteger}, AttributeDef{"factor"},
                   AttributeDef{"original"}, AttributeDef{"low"}, AttributeDef{"high"}},
    .advice = "a head is turned as a whole",
    .reverse = ReverseRope,
    .reference = ReferenceOf<RopeReference>()};

}  // namespace tp
