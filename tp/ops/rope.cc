#include <cmath>

#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

struct RopeReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string x = call.letters.operands()[0];
    const std::string rows = x.substr(0, x.size() - 1);
    const int64_t size = call.extent['d'];
    const int64_t half = size / 2;
    call.ForEachPoint(rows, [&](const ByLetter& row) {
      const auto position = static_cast<double>(call.begin['s'] + row['s']);
      ByLetter at = row;
      const auto element = [&](int64_t d) {
        at['d'] = d;
        return call.At(x, at);
      };
      for (int64_t i = 0; i < half; ++i) {
        const double angle = call.attributes.Number("turns") * position *
                             std::pow(call.attributes.Number("base"),
                                      -2.0 * static_cast<double>(i) / static_cast<double>(size));
        const T cosine(std::cos(angle)), sine(std::sin(angle));
        const T first = call.in[0][element(i)];
        const T second = call.in[0][element(half + i)];
        call.out[0][element(i)] = first * cosine - second * sine;
        call.out[0][element(half + i)] = second * cosine + first * sine;
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

// Turns element i of each head's first half with element i of its second half by the angle turns
// s base^(-2i/d), where s is the place in the sequence; what turns back is the same op with the
// other sign. Of an odd number of elements the last one stays. Su et al., "RoFormer", 2021; halves
// in place of neighbours as in GPT-NeoX (Black et al., 2022).
constinit const OpDef kRope = {.name = "rope",
                               .letters = "bs*d -> bs*d",
                               .whole = "d",
                               .linear = true,
                               .attributes = {AttributeDef{"base"}, AttributeDef{"turns"}},
                               .advice = "a head is turned as a whole",
                               .reverse = ReverseRope,
                               .reference = ReferenceOf<RopeReference>()};

}  // namespace tp
