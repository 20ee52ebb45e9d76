#include <algorithm>

#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

// The letters of `factors` that `output` lacks.
std::string SummedBy(const std::vector<std::string>& factors, const std::string& output) {
  std::string summed;
  for (const std::string& dims : factors) {
    for (char letter : dims) {
      if ((output + summed).find(letter) == std::string::npos) summed += letter;
    }
  }
  return summed;
}

// The sum over the terms of the sum over what the output lacks of the product of the factors.
struct MatMulReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const auto& terms = call.letters.terms();
    const std::string& output = call.letters.outputs()[0];
    std::vector<std::string> summed;
    for (const auto& factors : terms) summed.push_back(SummedBy(factors, output));
    call.ForEachPoint(output, [&](ByLetter& point) {
      SumOf<T> sum;
      size_t operand = 0;
      for (size_t term = 0; term < terms.size(); ++term) {
        const std::vector<std::string>& factors = terms[term];
        call.ForEachPoint(summed[term], point, [&](const ByLetter& at) {
          T product = call.in[operand][call.At(factors[0], at)];
          for (size_t i = 1; i < factors.size(); ++i) {
            product = product * call.in[operand + i][call.At(factors[i], at)];
          }
          sum.Add(product);
        });
        operand += factors.size();
      }
      call.out[0][call.At(output, point)] = sum.Total();
    });
  }
};

// "mk,kn -> mn" gives "mn,kn -> mk" and "mk,mn -> kn": each gradient is the product of the other
// factor and the output's gradient. Where the operand stands in its transpose, the factors change
// places, so that the product has the operand's own layout.
Status ReverseMatMul(Reverse& r) {
  const Letters& letters = r.letters();
  if (letters.terms().size() != 1) return InvalidArgument("differentiate before fusing biases");
  const std::vector<std::string> factors = letters.operands();
  const std::string& y = letters.outputs()[0];
  for (size_t i : {0, 1}) {
    if (!r.Needs(i)) continue;
    const size_t other = 1 - i;
    // A matrix product's first factor has its result's first dimension.
    const bool gradient_first = factors[i].empty() || y.find(factors[i][0]) != std::string::npos;
    const std::string first = gradient_first ? y : factors[other];
    const std::string second = gradient_first ? factors[other] : y;
    const ValueId a = gradient_first ? r.gradient(0) : r.in(other);
    const ValueId b = gradient_first ? r.in(other) : r.gradient(0);
    TP_RETURN_IF_ERROR(
        r.Give(i, kMatMul, {a, b}, {{"letters", first + "," + second + " -> " + factors[i]}}));
  }
  return OkStatus();
}

}  // namespace

// y = the product of two tensors over the letters that y lacks [+ bias], as the op's letters say.
constinit const OpDef kMatMul = {.name = "matmul",
                                 .linear = true,
                                 .advice =
                                     "the product would be neither a shard nor a partial sum "
                                     "of the global one",
                                 .launch = Action::kGemm,
                                 .blocked = Action::kBlockedGemm,
                                 .reverse = ReverseMatMul,
                                 .reference = ReferenceOf<MatMulReference>()};

}  // namespace tp
