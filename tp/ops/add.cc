#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

struct AddReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) call.out[0][i] = call.in[0][i] + call.in[1][i];
  }
};

Status ReverseAdd(Reverse& r) {
  for (size_t i : {0, 1}) {
    if (r.Needs(i)) TP_RETURN_IF_ERROR(r.Give(i, r.gradient(0)));
  }
  return OkStatus();
}

}  // namespace

// a + b, element by element.
constinit const OpDef kAdd = {.name = "add",
                              .letters = "* + * -> *",
                              .linear = true,
                              .advice = "both must lie alike",
                              .reverse = ReverseAdd,
                              .reference = ReferenceOf<AddReference>()};

}  // namespace tp
