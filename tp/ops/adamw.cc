// AdamW in four steps, each of which updates one tensor in place:
//
//   adam_moment   m = beta m + (1 - beta) g
//   adam_square   v = beta v + (1 - beta) g^2
//   adamw_step    w = w - rate (a m / (sqrt(b v) + eps) + decay w), in the accumulator's type
//   adamw_store   the parameter = w, rounded to its type
//
// What differs from step to step is a value: the rate, and a = 1 / (1 - beta_m^t) and
// b = 1 / (1 - beta_v^t) of step t, which make up for moments that begin as zeros. Kingma & Ba,
// "Adam", 2015; Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019; Micikevicius et
// al., "Mixed Precision Training", 2018, for the master copy.
#include "tp/core/elementary.h"
#include "tp/ops/all.h"

namespace tp {
namespace {

constexpr std::string_view kAdvice =
    "an optimizer needs the whole gradient of what it updates; redistribute it";
constexpr std::string_view kNoReverse = "nothing is differentiated through an update";
constexpr TypeRule kSame = TypeRule::kSame;
constexpr TypeRule kWide = TypeRule::kAccumulator;

struct MomentReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const double beta = call.attributes.Number("beta");
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      call.out[0][i] = T(beta) * call.in[1][i] + T(1 - beta) * call.in[0][i];
    }
  }
};

struct SquareReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const double beta = call.attributes.Number("beta");
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      call.out[0][i] = T(beta) * call.in[1][i] + T(1 - beta) * (call.in[0][i] * call.in[0][i]);
    }
  }
};

struct StepReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const T eps(call.attributes.Number("eps")), decay(call.attributes.Number("decay"));
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      const T w = call.in[0][i];
      const T root = Apply(Function::kSqrt, call.in[2][i] * call.in[5][0]);
      const T step = call.in[1][i] * call.in[4][0] / (root + eps);
      call.out[0][i] = w - call.in[3][0] * (step + decay * w);
    }
  }
};

struct StoreReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    call.out[0] = call.in[1];
  }
};

}  // namespace

// From g and m.
constinit const OpDef kAdamMoment = {.name = "adam_moment",
                                     .letters = "*,* -> *",
                                     .operands = {kSame, kWide},
                                     .types = {kWide},
                                     .attributes = {AttributeDef{"beta"}},
                                     .advice = kAdvice,
                                     .updates = 1,
                                     .no_reverse = kNoReverse,
                                     .reference = ReferenceOf<MomentReference>()};

// From g and v.
constinit const OpDef kAdamSquare = {.name = "adam_square",
                                     .letters = "*,* -> *",
                                     .operands = {kSame, kWide},
                                     .types = {kWide},
                                     .attributes = {AttributeDef{"beta"}},
                                     .advice = kAdvice,
                                     .updates = 1,
                                     .no_reverse = kNoReverse,
                                     .reference = ReferenceOf<SquareReference>()};

// From w, m, v, rate, a and b.
constinit const OpDef kAdamwStep = {.name = "adamw_step",
                                    .letters = "*,*,*,,, -> *",
                                    .attributes = {AttributeDef{"eps"}, AttributeDef{"decay"}},
                                    .advice = kAdvice,
                                    .updates = 0,
                                    .no_reverse = kNoReverse,
                                    .reference = ReferenceOf<StepReference>()};

// From the parameter and its master copy.
constinit const OpDef kAdamwStore = {.name = "adamw_store",
                                     .letters = "*,* -> *",
                                     .operands = {kSame, kWide},
                                     .advice = "both must lie alike",
                                     .updates = 0,
                                     .no_reverse = kNoReverse,
                                     .reference = ReferenceOf<StoreReference>()};

}  // namespace tp
