#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// What a group's queries look at, widened and packed; and where one query's numbers are.
template <typename T>
class Group {
 public:
  using Wide = typename Element<T>::Wide;

  Group(const KernelCall& c, std::byte* memory)
      : c_(c),
        keys_(c.in[1].dims[1].size),
        size_(c.in[0].dims[4].size),
        scale_(static_cast<Wide>(c.op.attributes.Number("scale"))),
        next_(reinterpret_cast<Wide*>(memory)) {
    key_ = Take(keys_ * size_);
    value_ = Take(keys_ * size_);
    query_ = Take(size_);
    scores_ = Take(keys_);
  }

  // Memory for `n` numbers more.
  Wide* Take(int64_t n) {
    Wide* const memory = next_;
    next_ += n;
    return memory;
  }

  // Of batch b and group g.
  void LoadKeys(int64_t b, int64_t g) {
    for (int64_t j = 0; j < keys_; ++j) {
      LoadLine<T>(c_.in[1], LineAt(c_.in[1], {b, j, g}, 3), c_.in[1].dims[3].stride, size_,
                  key_ + j * size_);
      LoadLine<T>(c_.in[2], LineAt(c_.in[2], {b, j, g}, 3), c_.in[2].dims[3].stride, size_,
                  value_ + j * size_);
    }
  }
  // A line of a tensor with a query's dimensions.
  void Load(const Tensor& x, const Index& query, Wide* to) const {
    LoadLine<T>(x, LineAt(x, query, 4), x.dims[4].stride, size_, to);
  }
  void Store(const Wide* from, const Tensor& x, const Index& query) const {
    StoreLine<T>(from, x, LineAt(x, query, 4), x.dims[4].stride, size_);
  }

  // Scores of the query at `query`, for the keys that it looks at.
  Numbers<Wide> Scores(const Index& query) {
    const int64_t place = c_.op.PartOf('q').begin + query[1];
    const int64_t seen = std::min(keys_, place + 1);
    Load(c_.in[0], query, query_);
    for (int64_t j = 0; j < seen; ++j) {
      scores_[j] = (Line(query_) * Line(key_ + j * size_)).sum() * scale_;
    }
    return Numbers<Wide>(scores_, seen);
  }

  Numbers<Wide> Line(Wide* at) const { return Numbers<Wide>(at, size_); }
  Numbers<Wide> Query() const { return Line(query_); }
  Numbers<Wide> Key(int64_t j) const { return Line(key_ + j * size_); }
  Numbers<Wide> Value(int64_t j) const { return Line(value_ + j * size_); }
  int64_t keys() const { return keys_; }
  int64_t size() const { return size_; }
  Wide scale() const { return scale_; }

  // Calls f(b, g, for each query: index) group by group.
  template <typename Begin, typename Each, typename End>
  void ForEach(const Begin& begin, const Each& each, const End& end) {
    const Dims& dims = c_.in[0].dims;
    for (int64_t b = 0; b < dims[0].size; ++b) {
      for (int64_t g = 0; g < dims[2].size; ++g) {
        LoadKeys(b, g);
        begin();
        for (int64_t i = 0; i < dims[1].size; ++i) {
          for (int64_t r = 0; r < dims[3].size; ++r) each(Index{b, i, g, r});
        }
        end(b, g);
      }
    }
  }

 private:
  const KernelCall& c_;
  const int64_t keys_, size_;
  const Wide scale_;
  Wide* next_;
  Wide *key_, *value_, *query_, *scores_;
};

void Attention(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    Group<T> group(c, c.scratch);
    Wide* const out = group.Take(group.size());
    group.ForEach([] {},
                  [&](const Index& query) {
                    Numbers<Wide> weights = group.Scores(query);
                    Wide& log_sum = static_cast<Wide*>(c.out[1].data)[LineAt(c.out[1], query, 4)];
                    Numbers<Wide> result = group.Line(out);
                    result.setZero();
                    log_sum = 0;
                    if (weights.size() > 0) {
                      const Wide greatest = weights.maxCoeff();
                      weights -= greatest;
                      ApplyTo(Function::kExp, weights.data(), weights.data(), weights.size());
                      const Wide sum = weights.sum();
                      for (int64_t j = 0; j < weights.size(); ++j)
                        result += weights[j] * group.Value(j);
                      result /= sum;
                      ApplyTo(Function::kLog, &sum, &log_sum, 1);
                      log_sum += greatest;
                    }
                    group.Store(out, c.out[0], query);
                  },
                  [](int64_t, int64_t) {});
  });
}

void AttentionGrad(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    Group<T> group(c, c.scratch);
    const int64_t n = group.size(), keys = group.keys();
    Wide* const dk = group.Take(keys * n);
    Wide* const dv = group.Take(keys * n);
    Wide* const dq = group.Take(n);
    Wide* const out = group.Take(n);
    Wide* const dout = group.Take(n);
    group.ForEach(
        [&] {
          std::fill_n(dk, keys * n, Wide{0});
          std::fill_n(dv, keys * n, Wide{0});
        },
        [&](const Index& query) {
          Numbers<Wide> weights = group.Scores(query);
          weights -= static_cast<const Wide*>(c.in[4].data)[LineAt(c.in[4], query, 4)];
          ApplyTo(Function::kExp, weights.data(), weights.data(), weights.size());
          group.Load(c.in[3], query, out);
          group.Load(c.in[5], query, dout);
          const Wide delta = (group.Line(dout) * group.Line(out)).sum();
          group.Line(dq).setZero();
          for (int64_t j = 0; j < weights.size(); ++j) {
            const Wide along = (group.Line(dout) * group.Value(j)).sum();
            const Wide slope = weights[j] * (along - delta) * group.scale();
            group.Line(dq) += slope * group.Key(j);
            group.Line(dk + j * n) += slope * group.Query();
            group.Line(dv + j * n) += weights[j] * group.Line(dout);
          }
          group.Store(dq, c.out[0], query);
        },
        [&](int64_t b, int64_t g) {
          for (int64_t j = 0; j < keys; ++j) {
            for (const auto& [sums, to] : {std::pair(dk, &c.out[1]), std::pair(dv, &c.out[2])}) {
              StoreLine<T>(sums + j * n, *to, LineAt(*to, {b, j, g}, 3), to->dims[3].stride, n);
            }
          }
        });
  });
}

// Of `lines` lines of a head's size a key, and some more; all as doubles.
int64_t GroupBytes(const KernelCall& c, int64_t lines) {
  const int64_t keys = c.in[1].dims[1].size, size = c.in[0].dims[4].size;
  return 8 * (lines * keys * size + 4 * size + keys);
}

}  // namespace

const Kernel kAttentionKernel = {Action{"attention"}, Attention,
                                 [](const KernelCall& c) { return GroupBytes(c, 2); }};
const Kernel kAttentionGradKernel = {Action{"attention_grad"}, AttentionGrad,
                                     [](const KernelCall& c) { return GroupBytes(c, 4); }};

}  // namespace tp::cpu
