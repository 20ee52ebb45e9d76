#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

struct AddToTokensReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string all = call.letters.operands()[0];
    const std::string bias = call.letters.operands()[1];
    call.ForEachPoint(all, [&](const ByLetter& at) {
      const int64_t i = call.At(all, at);
      call.out[0][i] = call.in[0][i] + call.in[1][call.At(bias, at)];
    });
  }
};

struct SumTokensReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string all = call.letters.operands()[0];
    const std::string bias = call.letters.outputs()[0];
    call.ForEachPoint(bias, [&](ByLetter& point) {
      SumOf<T> sum;
      call.ForEachPoint("bs", point,
                        [&](const ByLetter& at) { sum.Add(call.in[0][call.At(all, at)]); });
      call.out[0][call.At(bias, point)] = sum.Total();
    });
  }
};

Status ReverseAddToTokens(Reverse& r) {
  if (r.Needs(0)) TP_RETURN_IF_ERROR(r.Give(0, r.gradient(0)));
  if (!r.Needs(1)) return OkStatus();
  return r.Give(1, kSumTokens, {r.gradient(0)}, {});
}

}  // namespace

// x + bias on each token of each sequence: of queries, "bsgrd + grd -> bsgrd".
constinit const OpDef kAddToTokens = {.name = "add_to_tokens",
                                      .letters = "bs* + * -> bs*",
                                      .linear = true,
                                      .advice = "the bias must lie as a token does",
                                      .reverse = ReverseAddToTokens,
                                      .reference = ReferenceOf<AddToTokensReference>()};

// The sum over all tokens.
constinit const OpDef kSumTokens = {.name = "sum_tokens",
                                    .letters = "bs* -> *",
                                    .linear = true,
                                    .no_reverse = "it is only part of reverse passes",
                                    .reference = ReferenceOf<SumTokensReference>()};

}  // namespace tp
