#include "tp/core/elementary.h"
#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

constexpr std::string_view kAdvice =
    "a row is normalised as a whole, and the norm is not linear; redistribute first";

// The letters of a row's index, of x's letters without the last, f.
std::string RowsOf(const std::string& x) { return x.substr(0, x.size() - 1); }

struct RmsNormReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string x = call.letters.operands()[0];
    const std::string rows = RowsOf(x);
    call.ForEachPoint(rows, [&](ByLetter& point) {
      SumOf<T> squares;
      call.ForEachPoint("f", point, [&](const ByLetter& at) {
        const T element = call.in[0][call.At(x, at)];
        squares.Add(element * element);
      });
      const T mean = squares.Total() * T(1.0 / static_cast<double>(call.extent['f']));
      const T inverse = Apply(Function::kRsqrt, mean + T(call.attributes.Number("eps")));
      call.out[1][call.At(rows, point)] = inverse;
      call.ForEachPoint("f", point, [&](const ByLetter& at) {
        call.out[0][call.At(x, at)] =
            call.in[0][call.At(x, at)] * inverse * call.in[1][call.At("f", at)];
      });
    });
  }
};

struct RmsNormGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string x = call.letters.operands()[0];
    const std::string rows = RowsOf(x);
    call.ForEachPoint(rows, [&](ByLetter& point) {
      const T inverse = call.in[2][call.At(rows, point)];
      SumOf<T> sum;
      call.ForEachPoint("f", point, [&](const ByLetter& at) {
        sum.Add(call.in[3][call.At(x, at)] * call.in[1][call.At("f", at)] *
                call.in[0][call.At(x, at)]);
      });
      const T mean = sum.Total() * T(1.0 / static_cast<double>(call.extent['f']));
      const T along = mean * (inverse * inverse);
      call.ForEachPoint("f", point, [&](const ByLetter& at) {
        call.out[0][call.At(x, at)] =
            inverse * (call.in[3][call.At(x, at)] * call.in[1][call.At("f", at)] -
                       call.in[0][call.At(x, at)] * along);
      });
    });
    call.ForEachPoint("f", [&](ByLetter& point) {
      SumOf<T> sum;
      call.ForEachPoint(rows, point, [&](const ByLetter& at) {
        sum.Add(call.in[3][call.At(x, at)] *
                (call.in[0][call.At(x, at)] * call.in[2][call.At(rows, at)]));
      });
      call.out[1][point['f']] = sum.Total();
    });
  }
};

Status ReverseRmsNorm(Reverse& r) {
  if (!r.Needs(0) && !r.Needs(1)) return OkStatus();
  return r.Give({0, 1}, kRmsNormGrad, {r.in(0), r.in(1), r.out(1), r.gradient(0)}, {});
}

}  // namespace

// y = x r gain and r = 1 / sqrt(mean over f of x^2 + eps), which the gradient uses again.
// Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019.
constinit const OpDef kRmsNorm = {.name = "rms_norm",
                                  .letters = "*f,f -> *f,*",
                                  .whole = "f",
                                  .types = {TypeRule::kSame, TypeRule::kAccumulator},
                                  .attributes = {AttributeDef{"eps"}},
                                  .advice = kAdvice,
                                  .reverse = ReverseRmsNorm,
                                  .reference = ReferenceOf<RmsNormReference>()};

// From x, gain, r and dy: dx = r (gain dy - x r^2 mean over f of gain dy x), dgain = the sum over
// rows of dy x r.
constinit const OpDef kRmsNormGrad = {
    .name = "rms_norm_grad",
    .letters = "*f,f,*,*f -> *f,f",
    .whole = "f",
    .operands = {TypeRule::kSame, TypeRule::kSame, TypeRule::kAccumulator, TypeRule::kSame},
    .advice = kAdvice,
    .no_reverse = "it is only part of reverse passes",
    .reference = ReferenceOf<RmsNormGradReference>()};

}  // namespace tp
