#include "tp/ops/all.h"

namespace tp {
namespace {

struct SumRowsReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    call.ForEachPoint("n", [&](ByLetter& point) {
      SumOf<T> sum;
      call.ForEachPoint("m", point,
                        [&](const ByLetter& at) { sum.Add(call.in[0][call.At("mn", at)]); });
      call.out[0][call.At("n", point)] = sum.Total();
    });
  }
};

}  // namespace

// The sum over the rows.
constinit const OpDef kSumRows = {.name = "sum_rows",
                                  .letters = "mn -> n",
                                  .linear = true,
                                  .launch = Action::kSumRows,
                                  .blocked = Action::kBlockedSumRows,
                                  .no_reverse = "it is only part of reverse passes",
                                  .reference = ReferenceOf<SumRowsReference>()};

}  // namespace tp
