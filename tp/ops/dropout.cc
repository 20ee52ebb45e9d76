#include <cmath>

#include "tp/core/random.h"
#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

struct DropoutReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string dims = call.letters.operands()[0];
    const double rate = call.attributes.Number("rate");
    const RandomTensor random(static_cast<uint64_t>(static_cast<int64_t>(ValueOf(call.in[1][0]))),
                              static_cast<uint64_t>(call.attributes.Integer("stream")));
    const double threshold = std::round(rate * 0x1p32);
    call.ForEachPoint(dims, [&](const ByLetter& at) {
      uint64_t index = 0;
      for (char letter : dims) {
        index = index * static_cast<uint64_t>(call.whole[letter]) +
                static_cast<uint64_t>(call.begin[letter] + at[letter]);
      }
      if (static_cast<double>(random.Bits(index)) < threshold) return;
      const int64_t i = call.At(dims, at);
      call.out[0][i] = call.in[0][i] * T(1 / (1 - rate));
    });
  }
};

// The mask is worked out again.
Status ReverseDropout(Reverse& r) {
  if (!r.Needs(0)) return OkStatus();
  return r.Give(0, kDropout, {r.gradient(0), r.in(1)}, r.attributes());
}

}  // namespace

// From x and a seed, a number that is fed and is another one in each step: x / (1 - rate), but 0
// where the random bits of (seed, stream, the element's place in the global tensor) are below
// rate 2^32. So the mask is the same however x is cut and however often it is worked out; "stream"
// tells the tensors of a step apart. Srivastava et al., "Dropout", 2014; tp/core/random.h.
constinit const OpDef kDropout = {
    .name = "dropout",
    .letters = "*, -> *",
    .operands = {TypeRule::kSame, TypeRule::kInt32},
    .attributes = {AttributeDef{"rate"}, AttributeDef{"stream", AttributeType::kInteger}},
    .advice = "it needs whole values; redistribute first",
    .reverse = ReverseDropout,
    .reference = ReferenceOf<DropoutReference>()};

}  // namespace tp
