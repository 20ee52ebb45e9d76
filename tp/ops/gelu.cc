// GELU, x times the normal distribution's function of x: with erf, or with the tanh that comes near
// it. Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016.
#include <numbers>

#include "tp/core/elementary.h"
#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

constexpr std::string_view kAdvice =
    "it is not linear, so it needs whole values; redistribute first";
constexpr std::string_view kOnlyReverse = "it is only part of reverse passes";
constexpr double kSqrtHalf = 1 / std::numbers::sqrt2;
constexpr double kDensity = std::numbers::inv_sqrtpi * kSqrtHalf;  // 1 / sqrt(2 pi)
constexpr double kInner = 2 * kDensity;                            // sqrt(2 / pi)
constexpr double kCubic = 0.044715;

template <typename T>
T Distribution(const T& x) {
  return T(0.5) * (T(1) + Apply(Function::kErf, x * T(kSqrtHalf)));
}

template <typename T>
T TanhOf(const T& x) {
  return Apply(Function::kTanh, T(kInner) * (x + T(kCubic) * (x * x * x)));
}

struct GeluReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      call.out[0][i] = call.in[0][i] * Distribution(call.in[0][i]);
    }
  }
};

struct GeluGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      const T x = call.in[0][i];
      const T density = T(kDensity) * Apply(Function::kExp, T(-0.5) * (x * x));
      call.out[0][i] = call.in[1][i] * (Distribution(x) + x * density);
    }
  }
};

struct GeluTanhReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      const T x = call.in[0][i];
      call.out[0][i] = T(0.5) * x * (T(1) + TanhOf(x));
    }
  }
};

struct GeluTanhGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      const T x = call.in[0][i];
      const T t = TanhOf(x);
      const T inner = T(kInner) * (T(1) + T(3 * kCubic) * (x * x));
      const T slope = T(0.5) * (T(1) + t) + T(0.5) * x * ((T(1) - t * t) * inner);
      call.out[0][i] = call.in[1][i] * slope;
    }
  }
};

Status ReverseGelu(Reverse& r) {
  if (!r.Needs(0)) return OkStatus();
  return r.Give(0, kGeluGrad, {r.in(0), r.gradient(0)}, {});
}

Status ReverseGeluTanh(Reverse& r) {
  if (!r.Needs(0)) return OkStatus();
  return r.Give(0, kGeluTanhGrad, {r.in(0), r.gradient(0)}, {});
}

}  // namespace

// x (1 + erf(x / sqrt 2)) / 2.
constinit const OpDef kGelu = {.name = "gelu",
                               .letters = "* -> *",
                               .advice = kAdvice,
                               .reverse = ReverseGelu,
                               .reference = ReferenceOf<GeluReference>()};

// From x and dy.
constinit const OpDef kGeluGrad = {.name = "gelu_grad",
                                   .letters = "*,* -> *",
                                   .advice = kAdvice,
                                   .no_reverse = kOnlyReverse,
                                   .reference = ReferenceOf<GeluGradReference>()};

// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
constinit const OpDef kGeluTanh = {.name = "gelu_tanh",
                                   .letters = "* -> *",
                                   .advice = kAdvice,
                                   .reverse = ReverseGeluTanh,
                                   .reference = ReferenceOf<GeluTanhReference>()};

// From x and dy.
constinit const OpDef kGeluTanhGrad = {.name = "gelu_tanh_grad",
                                       .letters = "*,* -> *",
                                       .advice = kAdvice,
                                       .no_reverse = kOnlyReverse,
                                       .reference = ReferenceOf<GeluTanhGradReference>()};

}  // namespace tp
