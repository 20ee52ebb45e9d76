#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

struct ScaleReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) call.out[0][i] = call.in[0][i] * call.in[1][0];
  }
};

Status ReverseScale(Reverse& r) {
  if (!r.Needs(0)) return OkStatus();
  return r.Give(0, kScale, {r.gradient(0), r.in(1)}, {});
}

}  // namespace

// x s, s one number in the accumulator's type.
constinit const OpDef kScale = {.name = "scale",
                                .letters = "*, -> *",
                                .linear = true,
                                .operands = {TypeRule::kSame, TypeRule::kAccumulator},
                                .advice = "the number must be whole, or x be",
                                .reverse = ReverseScale,
                                .no_gradient_of = 0b10,
                                .reference = ReferenceOf<ScaleReference>()};

}  // namespace tp
