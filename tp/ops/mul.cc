#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

struct MulReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) call.out[0][i] = call.in[0][i] * call.in[1][i];
  }
};

Status ReverseMul(Reverse& r) {
  for (size_t i : {0, 1}) {
    if (r.Needs(i)) TP_RETURN_IF_ERROR(r.Give(i, kMul, {r.gradient(0), r.in(1 - i)}, {}));
  }
  return OkStatus();
}

}  // namespace

// a b, element by element.
constinit const OpDef kMul = {.name = "mul",
                              .letters = "*,* -> *",
                              .linear = true,
                              .advice = "both must lie alike, or one be a part of a sum",
                              .reverse = ReverseMul,
                              .reference = ReferenceOf<MulReference>()};

}  // namespace tp
