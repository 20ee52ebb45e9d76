#include "tp/core/elementary.h"
#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

constexpr std::string_view kAdvice =
    "it is not linear, so it needs whole values; redistribute first";

struct SiluReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      call.out[0][i] = call.in[0][i] * Apply(Function::kSigmoid, call.in[0][i]);
    }
  }
};

struct SiluGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      const T x = call.in[0][i];
      const T s = Apply(Function::kSigmoid, x);
      call.out[0][i] = call.in[1][i] * (s * (T(1) + x * (T(1) - s)));
    }
  }
};

Status ReverseSilu(Reverse& r) {
  if (!r.Needs(0)) return OkStatus();
  return r.Give(0, kSiluGrad, {r.in(0), r.gradient(0)}, {});
}

struct SwigluReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      const T a = call.in[0][i];
      call.out[0][i] = a * Apply(Function::kSigmoid, a) * call.in[1][i];
    }
  }
};

struct SwigluGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      const T a = call.in[0][i];
      const T dy = call.in[2][i];
      const T s = Apply(Function::kSigmoid, a);
      call.out[0][i] = dy * call.in[1][i] * (s * (T(1) + a * (T(1) - s)));
      call.out[1][i] = dy * (a * s);
    }
  }
};

Status ReverseSwiglu(Reverse& r) {
  if (!r.Needs(0) && !r.Needs(1)) return OkStatus();
  return r.Give({0, 1}, kSwigluGrad, {r.in(0), r.in(1), r.gradient(0)}, {});
}

}  // namespace

// silu(x) = x / (1 + exp(-x)). Elfwing, Uchibe & Doya, 2018; Ramachandran, Zoph & Le, 2017 (swish).
constinit const OpDef kSilu = {.name = "silu",
                               .letters = "* -> *",
                               .advice = kAdvice,
                               .reverse = ReverseSilu,
                               .reference = ReferenceOf<SiluReference>()};

// From x and dy: dy silu'(x), where silu' = s (1 + x (1 - s)) and s is the sigmoid of x.
constinit const OpDef kSiluGrad = {.name = "silu_grad",
                                   .letters = "*,* -> *",
                                   .advice = kAdvice,
                                   .no_reverse = "it is only part of reverse passes",
                                   .reference = ReferenceOf<SiluGradReference>()};

// silu(a) b. Shazeer, "GLU Variants Improve Transformer", 2020.
constinit const OpDef kSwiglu = {.name = "swiglu",
                                 .letters = "*,* -> *",
                                 .advice = kAdvice,
                                 .reverse = ReverseSwiglu,
                                 .reference = ReferenceOf<SwigluReference>()};

// From a, b and dy: da = dy b silu'(a) and db = dy silu(a).
constinit const OpDef kSwigluGrad = {.name = "swiglu_grad",
                                     .letters = "*,*,* -> *,*",
                                     .advice = kAdvice,
                                     .no_reverse = "it is only part of reverse passes",
                                     .reference = ReferenceOf<SwigluGradReference>()};

}  // namespace tp
