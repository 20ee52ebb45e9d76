// AdamW, in one pass over memory. With g' = factor g:
//
//   m = beta_moment m + (1 - beta_moment) g'
//   v = beta_square v + (1 - beta_square) g'^2
//   w = w - rate (a m / (sqrt(b v) + eps) + decay w)
//
// What differs from step to step is a value, in the accumulator's type: the rate; a and b, which
// make up for moments that begin as zeros, in step t a = 1 / (1 - beta_moment^t) and
// b = 1 / (1 - beta_square^t); and the factor of gradients, which clips them (clip_factor) and
// undoes a loss scale. A factor of 0 skips the step: nothing changes. Kingma & Ba, "Adam", 2015;
// Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019; Micikevicius et al., "Mixed
// Precision Training", 2018, for the master copy.
#include <cmath>

#include "tp/core/elementary.h"
#include "tp/ops/all.h"

namespace tp {
namespace {

constexpr std::string_view kAdvice =
    "an optimizer needs the whole gradient of what it updates; redistribute it";
constexpr std::string_view kNoReverse = "nothing is differentiated through an update";
constexpr TypeRule kSame = TypeRule::kSame;
constexpr TypeRule kWide = TypeRule::kAccumulator;

// Inputs and outputs from `first` on: w, m, v, g, rate, a, b, factor -> w, m, v.
template <typename T>
void Update(ReferenceCall<T>& call, size_t first) {
  const auto in = [&](size_t i) -> const std::vector<T>& { return call.in[first + i]; };
  const auto number = [&](const char* name) { return call.attributes.Number(name); };
  const double beta_moment = number("beta_moment"), beta_square = number("beta_square");
  const T eps(number("eps")), decay(number("decay"));
  const T rate = in(4)[0], a = in(5)[0], b = in(6)[0], factor = in(7)[0];
  const bool skips = ValueOf(factor) == 0;
  for (size_t i = 0; i < in(0).size(); ++i) {
    if (skips) {
      for (size_t k : {0, 1, 2}) call.out[first + k][i] = in(k)[i];
      continue;
    }
    const T w = in(0)[i];
    const T g = factor * in(3)[i];
    const T m = T(beta_moment) * in(1)[i] + T(1 - beta_moment) * g;
    const T v = T(beta_square) * in(2)[i] + T(1 - beta_square) * (g * g);
    const T step = m * a / (Apply(Function::kSqrt, v * b) + eps);
    call.out[first][i] = w - rate * (step + decay * w);
    call.out[first + 1][i] = m;
    call.out[first + 2][i] = v;
  }
}

struct AdamwReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    Update(call, 0);
  }
};

struct AdamwMasterReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    Update(call, 1);
    const bool skips = ValueOf(call.in.back()[0]) == 0;
    call.out[0] = skips ? call.in[0] : call.out[1];
  }
};

struct ClipFactorReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const T most(call.attributes.Number("max"));
    const T norm = Apply(Function::kSqrt, call.in[0][0]);
    const bool finite = std::isfinite(ValueOf(norm));
    call.out[0][0] = finite ? most / Greater(norm, most) : T(std::nan(""));
  }
};

}  // namespace

// From w, m, v, g, rate, a, b and factor: w, m and v.
constinit const OpDef kAdamw = {
    .name = "adamw",
    .letters = "*,*,*,*,,,, -> *,*,*",
    .operands = {kSame, kWide, kWide, kSame, kWide, kWide, kWide, kWide},
    .positive = 0b100'0100,
    .types = {kSame, kWide, kWide},
    .attributes = {AttributeDef{"beta_moment"}, AttributeDef{"beta_square"}, AttributeDef{"eps"},
                   AttributeDef{"decay"}},
    .advice = kAdvice,
    .updates = 3,
    .no_reverse = kNoReverse,
    .reference = ReferenceOf<AdamwReference>()};

// The same for a w in the accumulator's type, of which the parameter, before it in inputs and
// outputs, is a copy in its own type: what is too small for that type is not lost.
constinit const OpDef kAdamwMaster = {
    .name = "adamw_master",
    .letters = "*,*,*,*,*,,,, -> *,*,*,*",
    .operands = {kSame, kWide, kWide, kWide, kSame, kWide, kWide, kWide, kWide},
    .positive = 0b1000'1000,
    .types = {kSame, kWide, kWide, kWide},
    .attributes = {AttributeDef{"beta_moment"}, AttributeDef{"beta_square"}, AttributeDef{"eps"},
                   AttributeDef{"decay"}},
    .advice = kAdvice,
    .updates = 4,
    .no_reverse = kNoReverse,
    .reference = ReferenceOf<AdamwMasterReference>()};

// From the sum of the squares of all gradients: min(1, max / its root), by which gradients are
// multiplied so that their norm is at most max; no number where the sum is not finite. Pascanu,
// Mikolov & Bengio, "On the difficulty of training recurrent neural networks", 2013.
constinit const OpDef kClipFactor = {
    .name = "clip_factor",
    .letters = " -> ",
    .positive = 0b1,
    .attributes = {AttributeDef{"max"}},
    .advice = "a norm is that of the whole gradient; redistribute the sum of squares first",
    .no_reverse = kNoReverse,
    .reference = ReferenceOf<ClipFactorReference>()};

}  // namespace tp
