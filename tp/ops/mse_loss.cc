#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

constexpr std::string_view kAdvice =
    "the loss is not linear, so it needs whole values that lie alike; redistribute first";

struct MseLossReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    SumOf<T> sum;
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      const T error = call.in[0][i] - call.in[1][i];
      sum.Add(error * error);
    }
    call.out[0][0] = T(call.attributes.Number("scale")) * sum.Total();
  }
};

struct MseGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const T factor = 2 * call.attributes.Number("scale");
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      call.out[0][i] = factor * (call.in[0][i] - call.in[1][i]);
    }
  }
};

struct MseLossGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    MseLossReference::Run(call);
    const T factor = 2 * call.attributes.Number("scale");
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      call.out[1][i] = factor * (call.in[0][i] - call.in[1][i]);
    }
  }
};

// Of the loss itself, whose gradient is one.
Status ReverseMseLoss(Reverse& r) {
  if (!r.starts()) return InvalidArgument("the gradient starts at an mse_loss, or passes by it");
  if (!r.Needs(0)) return OkStatus();
  return r.Give(0, kMseGrad, {r.in(0), r.in(1)}, {{"scale", r.attributes().Number("scale")}});
}

}  // namespace

// scale * sum((y - t)^2), a scalar; scale is 1 / (number of elements of y) for the mean.
constinit const OpDef kMseLoss = {.name = "mse_loss",
                                  .letters = "*,* -> ",
                                  .types = {TypeRule::kAccumulator},
                                  .attributes = {AttributeDef{"scale"}},
                                  .advice = kAdvice,
                                  .reverse = ReverseMseLoss,
                                  .no_gradient_of = 0b10,
                                  .reference = ReferenceOf<MseLossReference>()};

// 2 * scale * (y - t), the gradient of mse_loss in y.
constinit const OpDef kMseGrad = {.name = "mse_grad",
                                  .letters = "*,* -> *",
                                  .attributes = {AttributeDef{"scale"}},
                                  .advice = kAdvice,
                                  .no_reverse = "it is only part of reverse passes",
                                  .reference = ReferenceOf<MseGradReference>()};

// Both of the above in one pass: loss and gradient.
constinit const OpDef kMseLossGrad = {.name = "mse_loss_grad",
                                      .letters = "*,* -> ,*",
                                      .types = {TypeRule::kAccumulator, TypeRule::kSame},
                                      .attributes = {AttributeDef{"scale"}},
                                      .advice = kAdvice,
                                      .no_reverse = "differentiate before fusing losses",
                                      .reference = ReferenceOf<MseLossGradReference>()};

}  // namespace tp
