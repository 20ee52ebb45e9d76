#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

// The row of the table that an id stands for, counted within the call's part; -1 for none.
template <typename T>
int64_t RowOf(const ReferenceCall<T>& call, const T& id) {
  const int64_t row = static_cast<int64_t>(ValueOf(id)) - call.begin['v'];
  return row >= 0 && row < call.extent['v'] ? row : -1;
}

struct EmbeddingReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string ids = call.letters.operands()[0];
    call.ForEachPoint(ids + "e", [&](const ByLetter& at) {
      const int64_t row = RowOf(call, call.in[0][call.At(ids, at)]);
      if (row >= 0) {
        call.out[0][call.At(ids + "e", at)] = call.in[1][row * call.extent['e'] + at['e']];
      }
    });
  }
};

struct EmbeddingGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const std::string ids = call.letters.operands()[0];
    call.ForEachPoint("ve", [&](ByLetter& point) {
      SumOf<T> sum;
      call.ForEachPoint(ids, point, [&](const ByLetter& at) {
        if (RowOf(call, call.in[0][call.At(ids, at)]) != at['v']) return;
        sum.Add(call.in[1][call.At(ids + "e", at)]);
      });
      call.out[0][call.At("ve", point)] = sum.Total();
    });
  }
};

Status ReverseEmbedding(Reverse& r) {
  if (!r.Needs(1)) return OkStatus();
  return r.Give(1, kEmbeddingGrad, {r.in(0), r.gradient(0), r.in(1)}, {});
}

}  // namespace

// From ids and a table, the rows that the ids stand for; an id outside the table gives zeros. Over
// a sharded vocabulary each rank gives the rows that it has: Partial. (Shoeybi et al.,
// "Megatron-LM", 2019.)
constinit const OpDef kEmbedding = {.name = "embedding",
                                    .letters = "*,ve -> *e",
                                    .operands = {TypeRule::kInt32, TypeRule::kSame},
                                    .ids_of = 'v',
                                    .advice = "ids lie as what is made of them",
                                    .reverse = ReverseEmbedding,
                                    .reference = ReferenceOf<EmbeddingReference>()};

// From ids, dy and the table, of which only the shape is read: the sum for each row of dy where an
// id stands for it.
constinit const OpDef kEmbeddingGrad = {
    .name = "embedding_grad",
    .letters = "*,*e,ve -> ve",
    .operands = {TypeRule::kInt32, TypeRule::kSame, TypeRule::kSame},
    .ids_of = 'v',
    .advice = "ids lie as the gradient does",
    .no_reverse = "it is only part of reverse passes",
    .reference = ReferenceOf<EmbeddingGradReference>()};

}  // namespace tp
