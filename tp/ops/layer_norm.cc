#include "tp/core/elementary.h"
#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

constexpr std::string_view kAdvice =
    "a row is normalised as a whole, and the norm is not linear; redistribute first";
constexpr TypeRule kSame = TypeRule::kSame;
constexpr TypeRule kWide = TypeRule::kAccumulator;

// The letters of a row's index, of x's letters without the last, f.
std::string RowsOf(const std::string& x) { return x.substr(0, x.size() - 1); }

// The mean over f of term(point), at the row of `row`.
template <typename T, typename Term>
T MeanOf(const ReferenceCall<T>& call, ByLetter row, const Term& term) {
  SumOf<T> sum;
  call.ForEachPoint("f", row, [&](const ByLetter& at) { sum.Add(term(at)); });
  return sum.Total() * T(1.0 / static_cast<double>(call.extent['f']));
}

struct LayerNormReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string x = call.letters.operands()[0];
    const std::string rows = RowsOf(x);
    call.ForEachPoint(rows, [&](ByLetter& point) {
      const T mean =
          MeanOf(call, point, [&](const ByLetter& at) { return call.in[0][call.At(x, at)]; });
      const auto centered = [&](const ByLetter& at) { return call.in[0][call.At(x, at)] - mean; };
      const T variance =
          MeanOf(call, point, [&](const ByLetter& at) { return centered(at) * centered(at); });
      const T inverse = Apply(Function::kRsqrt, variance + T(call.attributes.Number("eps")));
      call.out[1][call.At(rows, point)] = mean;
      call.out[2][call.At(rows, point)] = inverse;
      call.ForEachPoint("f", point, [&](const ByLetter& at) {
        const int64_t f = call.At("f", at);
        call.out[0][call.At(x, at)] = centered(at) * inverse * call.in[1][f] + call.in[2][f];
      });
    });
  }
};

struct LayerNormGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string x = call.letters.operands()[0];
    const std::string rows = RowsOf(x);
    const auto dy = [&](const ByLetter& at) { return call.in[4][call.At(x, at)]; };
    const auto normed = [&](const ByLetter& at) {
      const int64_t row = call.At(rows, at);
      return (call.in[0][call.At(x, at)] - call.in[2][row]) * call.in[3][row];
    };
    const auto slope = [&](const ByLetter& at) { return dy(at) * call.in[1][call.At("f", at)]; };
    call.ForEachPoint(rows, [&](ByLetter& point) {
      const T inverse = call.in[3][call.At(rows, point)];
      const T mean = MeanOf(call, point, slope);
      const T along =
          MeanOf(call, point, [&](const ByLetter& at) { return slope(at) * normed(at); });
      call.ForEachPoint("f", point, [&](const ByLetter& at) {
        call.out[0][call.At(x, at)] = inverse * (slope(at) - mean - normed(at) * along);
      });
    });
    call.ForEachPoint("f", [&](ByLetter& point) {
      SumOf<T> gain, bias;
      call.ForEachPoint(rows, point, [&](const ByLetter& at) {
        gain.Add(dy(at) * normed(at));
        bias.Add(dy(at));
      });
      call.out[1][point['f']] = gain.Total();
      call.out[2][point['f']] = bias.Total();
    });
  }
};

Status ReverseLayerNorm(Reverse& r) {
  if (!r.Needs(0) && !r.Needs(1) && !r.Needs(2)) return OkStatus();
  return r.Give({0, 1, 2}, kLayerNormGrad, {r.in(0), r.in(1), r.out(1), r.out(2), r.gradient(0)},
                {});
}

}  // namespace

// y = (x - m) r gain + bias, m the mean over f of x, and r = 1 / sqrt(mean of (x - m)^2 + eps); m
// and r, which the gradient uses again. Ba, Kiros & Hinton, "Layer Normalization", 2016.
constinit const OpDef kLayerNorm = {.name = "layer_norm",
                                    .letters = "*f,f,f -> *f,*,*",
                                    .whole = "f",
                                    .types = {kSame, kWide, kWide},
                                    .attributes = {AttributeDef{"eps"}},
                                    .advice = kAdvice,
                                    .reverse = ReverseLayerNorm,
                                    .reference = ReferenceOf<LayerNormReference>()};

// From x, gain, m, r and dy, with n = (x - m) r and g = gain dy: dx = r (g - mean of g - n mean of
// g n), dgain = the sum over rows of dy n, dbias that of dy.
constinit const OpDef kLayerNormGrad = {.name = "layer_norm_grad",
                                        .letters = "*f,f,*,*,*f -> *f,f,f",
                                        .whole = "f",
                                        .operands = {kSame, kSame, kWide, kWide, kSame},
                                        .advice = kAdvice,
                                        .no_reverse = "it is only part of reverse passes",
                                        .reference = ReferenceOf<LayerNormGradReference>()};

}  // namespace tp
