#include <algorithm>
#include <utility>
#include <vector>

#include "tp/core/elementary.h"
#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

constexpr std::string_view kAdvice =
    "a query needs all keys of its group, and a softmax is not linear; redistribute first";
constexpr TypeRule kSame = TypeRule::kSame;
constexpr TypeRule kWide = TypeRule::kAccumulator;

// The keys that a query may look at, [first, end): those of its own place in the sequence and
// before; packed, not those before its start, the last operand.
struct Keys {
  int64_t first = 0;
  int64_t end = 0;
};
template <typename T>
Keys KeysOf(const ReferenceCall<T>& call, const ByLetter& query) {
  Keys keys{0, std::min(call.extent['k'], call.begin['q'] + query['q'] + 1)};
  if (call.letters.operands().back() == "bq") {
    const auto start = static_cast<int64_t>(ValueOf(call.in.back()[call.At("bq", query)]));
    keys.first = std::clamp(start, int64_t{0}, keys.end);
  }
  return keys;
}

// scale (q . k) for each key that the query at `point` looks at.
template <typename T>
std::vector<T> Scores(const ReferenceCall<T>& call, ByLetter& point) {
  std::vector<T> scores;
  const Keys keys = KeysOf(call, point);
  for (point['k'] = keys.first; point['k'] < keys.end; ++point['k']) {
    SumOf<T> sum;
    call.ForEachPoint("d", point, [&](const ByLetter& at) {
      sum.Add(call.in[0][call.At("bqgrd", at)] * call.in[1][call.At("bkgd", at)]);
    });
    scores.push_back(sum.Total() * T(call.attributes.Number("scale")));
  }
  return scores;
}

struct AttentionReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    call.ForEachPoint("bqgr", [&](ByLetter& point) {
      std::vector<T> weights = Scores(call, point);
      if (weights.empty()) return;
      const int64_t first = KeysOf(call, point).first;
      T greatest = weights[0];
      for (const T& score : weights) {
        if (ValueOf(score) > ValueOf(greatest)) greatest = score;
      }
      SumOf<T> sum;
      for (T& weight : weights) {
        weight = Apply(Function::kExp, weight - greatest);
        sum.Add(weight);
      }
      const T total = sum.Total();
      call.out[1][call.At("bqgr", point)] = Apply(Function::kLog, total) + greatest;
      call.ForEachPoint("d", point, [&](ByLetter& at) {
        SumOf<T> value;
        for (size_t k = 0; k < weights.size(); ++k) {
          at['k'] = first + static_cast<int64_t>(k);
          value.Add(Narrowed(weights[k]) * call.in[2][call.At("bkgd", at)]);
        }
        call.out[0][call.At("bqgrd", at)] = value.Total() / total;
      });
    });
  }
};

// The gradients of keys or values: sums over the queries of all heads of the group. Those of one
// head may be summed first, and that sum rounded to the operands' type.
template <typename T>
class KeySums {
 public:
  explicit KeySums(size_t size) : all_(size), head_(size) {}

  void Add(int64_t key, const T& term) {
    all_[key].Add(term);
    head_[key].Add(term);
  }
  // After all queries of a head that shares its keys: of `key`.
  void EndHead(int64_t key) { all_[key].Add(Narrowing(std::exchange(head_[key], {}).Total())); }
  T Total(size_t key) const { return all_[key].Total(); }

 private:
  std::vector<SumOf<T>> all_, head_;
};

struct AttentionGradReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    const size_t size = call.out[1].size();
    KeySums<T> dk(size), dv(size);
    call.ForEachPoint("bgr", [&](ByLetter& head) {
      call.ForEachPoint("q", head, [&](ByLetter& point) { AddQuery(call, point, dk, dv); });
      if (call.whole['r'] == 1) return;
      call.ForEachPoint("kd", head, [&](const ByLetter& point) {
        dk.EndHead(call.At("bkgd", point));
        dv.EndHead(call.At("bkgd", point));
      });
    });
    for (size_t i = 0; i < size; ++i) {
      call.out[1][i] = dk.Total(i);
      call.out[2][i] = dv.Total(i);
    }
  }

 private:
  template <typename T>
  static void AddQuery(ReferenceCall<T>& call, ByLetter& point, KeySums<T>& dk, KeySums<T>& dv) {
    [[maybe_unused]] const OnOneRank<T> alone;  // only sums over queries and heads may be cut
    const std::vector<T> scores = Scores(call, point);
    const int64_t first = KeysOf(call, point).first;
    const T lse = call.in[4][call.At("bqgr", point)];
    SumOf<T> delta;
    call.ForEachPoint("d", point, [&](const ByLetter& at) {
      delta.Add(call.in[5][call.At("bqgrd", at)] * call.in[3][call.At("bqgrd", at)]);
    });
    std::vector<SumOf<T>> dq(static_cast<size_t>(call.extent['d']));
    for (size_t k = 0; k < scores.size(); ++k) {
      point['k'] = first + static_cast<int64_t>(k);
      const T weight = Apply(Function::kExp, scores[k] - lse);
      SumOf<T> along;
      call.ForEachPoint("d", point, [&](const ByLetter& at) {
        along.Add(call.in[5][call.At("bqgrd", at)] * call.in[2][call.At("bkgd", at)]);
      });
      const T slope =
          Narrowed(weight * (along.Total() - delta.Total()) * T(call.attributes.Number("scale")));
      const T narrow_weight = Narrowed(weight);
      call.ForEachPoint("d", point, [&](const ByLetter& at) {
        const int64_t key = call.At("bkgd", at);
        dq[at['d']].Add(slope * call.in[1][key]);
        dk.Add(key, slope * call.in[0][call.At("bqgrd", at)]);
        dv.Add(key, narrow_weight * call.in[5][call.At("bqgrd", at)]);
      });
    }
    call.ForEachPoint("d", point, [&](const ByLetter& at) {
      call.out[0][call.At("bqgrd", at)] = dq[at['d']].Total();
    });
  }
};

Status ReverseAttention(Reverse& r) {
  if (!r.Needs(0) && !r.Needs(1) && !r.Needs(2)) return OkStatus();
  return r.Give({0, 1, 2}, kAttentionGrad,
                {r.in(0), r.in(1), r.in(2), r.out(0), r.out(1), r.gradient(0)}, r.attributes());
}

Status ReversePacked(Reverse& r) {
  if (!r.Needs(0) && !r.Needs(1) && !r.Needs(2)) return OkStatus();
  return r.Give({0, 1, 2}, kPackedAttentionGrad,
                {r.in(0), r.in(1), r.in(2), r.out(0), r.out(1), r.gradient(0), r.in(3)},
                r.attributes());
}

}  // namespace

// Causal attention of r query heads to each of g key and value heads: for each query the softmax of
// scale (q . k) over the keys at its place in the sequence and before, times v; and the logarithm
// of the sum of exponentials, from which the gradient works the weights out again. Where weights
// are multiplied, and in the gradient slopes too, they may have been rounded to the operands' type:
// that is what matrix units take. Vaswani et al.,
// 2017; Ainslie et al. (groups), 2023; Dao et al., "FlashAttention", 2022.
constinit const OpDef kAttention = {.name = "attention",
                                    .letters = "bqgrd,bkgd,bkgd -> bqgrd,bqgr",
                                    .whole = "kd",
                                    .types = {kSame, kWide},
                                    .attributes = {AttributeDef{"scale"}},
                                    .advice = kAdvice,
                                    .reverse = ReverseAttention,
                                    .reference = ReferenceOf<AttentionReference>()};

// From q, k, v, the output o, its l and do: with p = exp(scale (q . k) - l) and
// ds = scale p (do . v - do . o), dq is the sum over keys of ds k, dk that over queries of ds q,
// and dv that of p do. FlashAttention, appendix B.
constinit const OpDef kAttentionGrad = {
    .name = "attention_grad",
    .letters = "bqgrd,bkgd,bkgd,bqgrd,bqgr,bqgrd -> bqgrd,bkgd,bkgd",
    .whole = "kd",
    .operands = {kSame, kSame, kSame, kSame, kWide, kSame},
    .attributes = {AttributeDef{"scale"}},
    .advice = kAdvice,
    .no_reverse = "it is only part of reverse passes",
    .reference = ReferenceOf<AttentionGradReference>()};

// The same for several sequences packed into one: with the starts of queries, a query looks at no
// key before its start, which is where its own sequence begins.
constinit const OpDef kPackedAttention = {.name = "packed_attention",
                                          .letters = "bqgrd,bkgd,bkgd,bq -> bqgrd,bqgr",
                                          .whole = "kd",
                                          .operands = {kSame, kSame, kSame, TypeRule::kInt32},
                                          .ids_of = 'k',
                                          .types = {kSame, kWide},
                                          .attributes = {AttributeDef{"scale"}},
                                          .advice = kAdvice,
                                          .reverse = ReversePacked,
                                          .reference = ReferenceOf<AttentionReference>()};

constinit const OpDef kPackedAttentionGrad = {
    .name = "packed_attention_grad",
    .letters = "bqgrd,bkgd,bkgd,bqgrd,bqgr,bqgrd,bq -> bqgrd,bkgd,bkgd",
    .whole = "kd",
    .operands = {kSame, kSame, kSame, kSame, kWide, kSame, TypeRule::kInt32},
    .ids_of = 'k',
    .attributes = {AttributeDef{"scale"}},
    .advice = kAdvice,
    .no_reverse = "it is only part of reverse passes",
    .reference = ReferenceOf<AttentionGradReference>()};

}  // namespace tp
