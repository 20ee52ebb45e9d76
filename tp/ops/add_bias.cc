#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

struct AddBiasReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    call.ForEachPoint("mn", [&](const ByLetter& point) {
      call.out[0][call.At("mn", point)] =
          call.in[0][call.At("mn", point)] + call.in[1][call.At("n", point)];
    });
  }
};

Status ReverseAddBias(Reverse& r) {
  if (r.Needs(0)) TP_RETURN_IF_ERROR(r.Give(0, r.gradient(0)));
  if (!r.Needs(1)) return OkStatus();
  return r.Give(1, kSumRows, {r.gradient(0)}, {});
}

}  // namespace

// y + b on each row.
constinit const OpDef kAddBias = {.name = "add_bias",
                                  .letters = "mn + n -> mn",
                                  .linear = true,
                                  .advice = "the bias must lie as the columns do",
                                  .reverse = ReverseAddBias,
                                  .reference = ReferenceOf<AddBiasReference>()};

}  // namespace tp
