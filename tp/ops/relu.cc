#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

constexpr std::string_view kAdvice =
    "it is not linear, so it needs whole values; redistribute first";

struct ReluReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      if (ValueOf(call.in[0][i]) > 0) call.out[0][i] = call.in[0][i];
    }
  }
};

struct ReluGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      if (ValueOf(call.in[0][i]) > 0) call.out[0][i] = call.in[1][i];
    }
  }
};

Status ReverseRelu(Reverse& r) {
  if (!r.Needs(0)) return OkStatus();
  return r.Give(0, kReluGrad, {r.in(0), r.gradient(0)}, {});
}

}  // namespace

// max(x, 0). Fukushima, 1969.
constinit const OpDef kRelu = {.name = "relu",
                               .letters = "* -> *",
                               .advice = kAdvice,
                               .reverse = ReverseRelu,
                               .reference = ReferenceOf<ReluReference>()};

// dy where x > 0, and 0 elsewhere.
constinit const OpDef kReluGrad = {.name = "relu_grad",
                                   .letters = "*,* -> *",
                                   .advice = kAdvice,
                                   .no_reverse = "it is only part of reverse passes",
                                   .reference = ReferenceOf<ReluGradReference>()};

}  // namespace tp
