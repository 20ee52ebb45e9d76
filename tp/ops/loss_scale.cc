#include <cmath>

#include "tp/ops/all.h"

namespace tp {
namespace {

struct LossScaleReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const T& scale = call.in[0][0];
    const bool finite = std::isfinite(ValueOf(call.in[3][0]));
    const T steps = finite ? call.in[2][0] + T(1) : T(0);
    const bool grows = ValueOf(steps) >= call.attributes.Number("interval");
    double factor = grows ? 2 : 1;
    if (!finite && ValueOf(scale) > 1) factor = 0.5;
    call.out[0][0] = scale * T(factor);
    call.out[1][0] = call.in[1][0] * T(1 / factor);
    call.out[2][0] = grows ? T(0) : steps;
    call.out[3][0] = finite ? call.in[4][0] * call.in[1][0] : T(0);
  }
};

}  // namespace

// From the scale of the loss, 1 / scale, the steps since it changed, the sum of the squares of all
// gradients, and what clips these: scale, 1 / scale and steps of the next step, and the factor of
// scaled gradients, clipped. Where the sum is no finite number that is 0, which skips the step, and
// the scale is halved, unless it is 1 or less; it is doubled where the sum was finite `interval`
// times in a row. Micikevicius et al., "Mixed Precision Training", 2018, section 3.2; the rule is
// that of NVIDIA's "Train With Mixed Precision", 2017.
constinit const OpDef kLossScale = {.name = "loss_scale",
                                    .letters = ",,,, -> ,,,",
                                    .attributes = {AttributeDef{"interval"}},
                                    .advice = "it decides by the whole sum; redistribute it first",
                                    .updates = 3,
                                    .no_reverse = "nothing is differentiated through an update",
                                    .reference = ReferenceOf<LossScaleReference>()};

}  // namespace tp
