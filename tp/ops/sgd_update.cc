#include "tp/ops/all.h"

namespace tp {
namespace {

struct SgdReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const T rate = call.attributes.Number("rate");
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      call.out[0][i] = call.in[0][i] - rate * call.in[1][i];
    }
  }
};

}  // namespace

// w - rate * gradient, which takes the place of w in memory. Robbins & Monro, 1951.
constinit const OpDef kSgdUpdate = {
    .name = "sgd_update",
    .letters = "*,* -> *",
    .attributes = {AttributeDef{"rate"}},
    .advice = "an optimizer needs the whole gradient of what it updates; redistribute it",
    .updates = 1,
    .launch = Action{"sgd"},
    .no_reverse = "nothing is differentiated through an update",
    .reference = ReferenceOf<SgdReference>()};

}  // namespace tp
