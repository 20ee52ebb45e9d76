#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

// The table's row for a place in this part of the sequence; -1 behind the table's end.
template <typename T>
int64_t RowOf(const ReferenceCall<T>& call, const ByLetter& at) {
  const int64_t row = call.begin['s'] + at['s'];
  return row < call.extent['p'] ? row : -1;
}

struct AddPositionsReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    call.ForEachPoint("bse", [&](const ByLetter& at) {
      const int64_t row = RowOf(call, at);
      const int64_t i = call.At("bse", at);
      call.out[0][i] =
          row < 0 ? call.in[0][i] : call.in[0][i] + call.in[1][row * call.extent['e'] + at['e']];
    });
  }
};

struct AddPositionsGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    call.ForEachPoint("pe", [&](ByLetter& point) {
      SumOf<T> sum;
      call.ForEachPoint("bs", point, [&](const ByLetter& at) {
        // Other places are terms that are zero: whoever holds a row's place holds all of its terms,
        // which are no more than its share of these.
        sum.Add(RowOf(call, at) == at['p'] ? call.in[0][call.At("bse", at)] : T(0));
      });
      call.out[0][call.At("pe", point)] = sum.Total();
    });
  }
};

Status ReverseAddPositions(Reverse& r) {
  if (r.Needs(0)) TP_RETURN_IF_ERROR(r.Give(0, r.gradient(0)));
  if (!r.Needs(1)) return OkStatus();
  return r.Give(1, kAddPositionsGrad, {r.gradient(0), r.in(1)}, {});
}

}  // namespace

// From x and a table: x plus the table's row for the place in the sequence, wherever the sequence
// is cut; nothing is added behind the table's end. Gehring et al., "Convolutional Sequence to
// Sequence Learning", 2017; Radford et al. (GPT-2), 2019.
constinit const OpDef kAddPositions = {.name = "add_positions",
                                       .letters = "bse + pe -> bse",
                                       .whole = "p",
                                       .linear = true,
                                       .advice = "the table must be whole over its rows",
                                       .reverse = ReverseAddPositions,
                                       .reference = ReferenceOf<AddPositionsReference>()};

// From dy and the table, of which only the shape is read: for each of its rows the sum of dy over
// the batch.
constinit const OpDef kAddPositionsGrad = {.name = "add_positions_grad",
                                           .letters = "bse,pe -> pe",
                                           .whole = "p",
                                           .advice = "the gradient must be whole",
                                           .no_reverse = "it is only part of reverse passes",
                                           .reference = ReferenceOf<AddPositionsGradReference>()};

}  // namespace tp
