// The loss of a language model over a vocabulary that may be sharded, in pieces, so that no rank
// needs all logits of a token. With x the logits of a token and t the id that is to be predicted:
//
//   m = row_max(x)              Partial(max) over a sharded vocabulary; made Replicate
//   s = exp_sum(x, m)           Partial; made Replicate
//   p, c = pick(x, t)           x of the target, and whether there is one; likewise
//   loss = cross_entropy(s, m, p, c) = scale * the sum over tokens of c (log s + m) - p
//
// A token whose id is no index of the vocabulary is ignored: nobody has it, and c is 0. The loss
// does not depend on m, so no gradient goes there. Shoeybi et al., "Megatron-LM", 2019, section 3.
#include <limits>

#include "tp/core/elementary.h"
#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

constexpr std::string_view kAdvice =
    "it is not linear, so it needs whole values; redistribute first";
constexpr std::string_view kOnlyReverse = "it is only part of reverse passes";
constexpr TypeRule kSame = TypeRule::kSame;
constexpr TypeRule kWide = TypeRule::kAccumulator;
constexpr TypeRule kIds = TypeRule::kInt32;

template <typename T>
std::string RowsOf(const ReferenceCall<T>& call) {
  return call.letters.operands()[1];
}

struct RowMaxReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string rows = call.letters.outputs()[0];
    call.ForEachPoint(rows, [&](ByLetter& point) {
      T& greatest = call.out[0][call.At(rows, point)];
      greatest = T(-std::numeric_limits<double>::infinity());
      call.ForEachPoint("v", point, [&](const ByLetter& at) {
        const T& x = call.in[0][call.At(call.letters.operands()[0], at)];
        if (ValueOf(x) > ValueOf(greatest)) greatest = x;
      });
    });
  }
};

struct ExpSumReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string rows = RowsOf(call);
    call.ForEachPoint(rows, [&](ByLetter& point) {
      const T shift = call.in[1][call.At(rows, point)];
      SumOf<T> sum;
      call.ForEachPoint("v", point, [&](const ByLetter& at) {
        sum.Add(Apply(Function::kExp, call.in[0][call.At(rows + "v", at)] - shift));
      });
      call.out[0][call.At(rows, point)] = sum.Total();
    });
  }
};

struct ExpSumGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string rows = RowsOf(call);
    call.ForEachPoint(rows + "v", [&](const ByLetter& at) {
      const int64_t row = call.At(rows, at);
      call.out[0][call.At(rows + "v", at)] =
          Apply(Function::kExp, call.in[0][call.At(rows + "v", at)] - call.in[1][row]) *
          call.in[2][row];
    });
  }
};

template <typename T>
bool IsTarget(const ReferenceCall<T>& call, int64_t row, const ByLetter& at) {
  return static_cast<int64_t>(ValueOf(call.in[1][row])) == call.begin['v'] + at['v'];
}

struct PickReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string rows = RowsOf(call);
    call.ForEachPoint(rows + "v", [&](const ByLetter& at) {
      const int64_t row = call.At(rows, at);
      if (!IsTarget(call, row, at)) return;
      call.out[0][row] = call.in[0][call.At(rows + "v", at)];
      call.out[1][row] = T(1);
    });
  }
};

struct PickGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string rows = RowsOf(call);
    call.ForEachPoint(rows + "v", [&](const ByLetter& at) {
      const int64_t row = call.At(rows, at);
      if (IsTarget(call, row, at)) call.out[0][call.At(rows + "v", at)] = call.in[2][row];
    });
  }
};

struct LogitsGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string rows = RowsOf(call);
    call.ForEachPoint(rows + "v", [&](const ByLetter& at) {
      const int64_t row = call.At(rows, at), element = call.At(rows + "v", at);
      T slope = Apply(Function::kExp, call.in[0][element] - call.in[2][row]) * call.in[3][row];
      if (IsTarget(call, row, at)) slope = slope + call.in[4][row];
      call.out[0][element] = slope;
    });
  }
};

struct CrossEntropyReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const T scale(call.attributes.Number("scale"));
    SumOf<T> sum;
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      const T log_sum = Apply(Function::kLog, call.in[0][i]) + call.in[1][i];
      sum.Add(scale * (call.in[3][i] * log_sum - call.in[2][i]));
    }
    call.out[0][0] = sum.Total();
  }
};

struct CrossEntropyGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const T scale(call.attributes.Number("scale"));
    for (size_t i = 0; i < call.in[0].size(); ++i) {
      call.out[0][i] = scale * call.in[1][i] / call.in[0][i];
      call.out[1][i] = -scale;
    }
  }
};

Status ReverseExpSum(Reverse& r) {
  if (!r.Needs(0)) return OkStatus();
  return r.Give(0, kExpSumGrad, {r.in(0), r.in(1), r.gradient(0)}, {});
}

Status ReversePick(Reverse& r) {
  if (!r.Needs(0)) return OkStatus();
  return r.Give(0, kPickGrad, {r.in(0), r.in(1), r.gradient(0)}, {});
}

Status ReverseCrossEntropy(Reverse& r) {
  if (!r.starts()) {
    return InvalidArgument("the gradient starts at a cross_entropy, or passes by it");
  }
  if (!r.Needs(0) && !r.Needs(2)) return OkStatus();
  return r.Give({0, 2}, kCrossEntropyGrad, {r.in(0), r.in(3)}, r.attributes());
}

}  // namespace

// The greatest of each row.
constinit const OpDef kRowMax = {.name = "row_max",
                                 .letters = "*v -> *",
                                 .types = {kWide},
                                 .reductions = {Reduction::kMax},
                                 .advice = kAdvice,
                                 .no_reverse = "what is shifted by it does not depend on it",
                                 .constant = 0b1,
                                 .reference = ReferenceOf<RowMaxReference>()};

// The sum over a row of exp(x - m).
constinit const OpDef kExpSum = {.name = "exp_sum",
                                 .letters = "*v,* -> *",
                                 .operands = {kSame, kWide},
                                 .types = {kWide},
                                 .advice = kAdvice,
                                 .blocked = Action::kBlockedExpSum,
                                 .reverse = ReverseExpSum,
                                 .no_gradient_of = 0b10,
                                 .reference = ReferenceOf<ExpSumReference>()};

// From x, m and ds: exp(x - m) ds.
constinit const OpDef kExpSumGrad = {.name = "exp_sum_grad",
                                     .letters = "*v,*,* -> *v",
                                     .operands = {kSame, kWide, kWide},
                                     .advice = kAdvice,
                                     .no_reverse = kOnlyReverse,
                                     .reference = ReferenceOf<ExpSumGradReference>()};

// A row's element with the index that its id says, and 1; or 0 and 0 where there is none.
constinit const OpDef kPick = {.name = "pick",
                               .letters = "*v,* -> *,*",
                               .operands = {kSame, kIds},
                               .ids_of = 'v',
                               .types = {kWide, kWide},
                               .advice = kAdvice,
                               .reverse = ReversePick,
                               .constant = 0b10,
                               .reference = ReferenceOf<PickReference>()};

// From x, of which only the shape is read, ids and the picked one's gradient: that in its place.
constinit const OpDef kPickGrad = {.name = "pick_grad",
                                   .letters = "*v,*,* -> *v",
                                   .operands = {kSame, kIds, kWide},
                                   .ids_of = 'v',
                                   .advice = kAdvice,
                                   .no_reverse = kOnlyReverse,
                                   .reference = ReferenceOf<PickGradReference>()};

// From x, ids, m, ds and dp: the sum of exp_sum_grad and pick_grad, which the pass
// FuseLogitsGradient makes of these two. Logits are the largest tensor of a step.
constinit const OpDef kLogitsGrad = {.name = "logits_grad",
                                     .letters = "*v,*,*,*,* -> *v",
                                     .operands = {kSame, kIds, kWide, kWide, kWide},
                                     .ids_of = 'v',
                                     .advice = kAdvice,
                                     .no_reverse = kOnlyReverse,
                                     .reference = ReferenceOf<LogitsGradReference>()};

// From s, m, p and c: scale times the sum of c (log s + m) - p.
constinit const OpDef kCrossEntropy = {.name = "cross_entropy",
                                       .letters = "*,*,*,* -> ",
                                       .positive = 0b1,
                                       .attributes = {AttributeDef{"scale"}},
                                       .advice = kAdvice,
                                       .reverse = ReverseCrossEntropy,
                                       .no_gradient_of = 0b1010,
                                       .reference = ReferenceOf<CrossEntropyReference>()};

// From s and c: ds = scale c / s, and dp = -scale, which nobody reads where there is no target.
constinit const OpDef kCrossEntropyGrad = {.name = "cross_entropy_grad",
                                           .letters = "*,* -> *,*",
                                           .positive = 0b1,
                                           .attributes = {AttributeDef{"scale"}},
                                           .advice = kAdvice,
                                           .no_reverse = kOnlyReverse,
                                           .reference = ReferenceOf<CrossEntropyGradReference>()};

}  // namespace tp
