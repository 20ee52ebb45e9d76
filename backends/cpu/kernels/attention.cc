// Attention by blocks of queries: a block's scores, weights and what they give are matrix products,
// of the keys up to the block's last query. A head is worked on by itself, and blocks begin at the
// same queries, so that an element has the same bits wherever heads are cut.
#include <algorithm>

#include "backends/cpu/gemm.h"
#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

constexpr int64_t kQueries = 64;  // of a block

// The queries of one block.
struct Queries {
  int64_t b, g, r;
  int64_t first, count;
  int64_t keys;  // that any of them looks at are before this
};

// The keys that one query looks at.
struct Keys {
  int64_t first, end;
};

// Packed matrices of a head, in scratch.
template <typename T>
class Heads {
 public:
  using Wide = typename Element<T>::Wide;

  // `starts` may be null.
  Heads(const KernelCall& c, const Tensor* starts)
      : c_(c),
        starts_(starts),
        keys_(c.in[1].dims[1].size),
        size_(c.in[0].dims[4].size),
        next_(reinterpret_cast<Wide*>(c.scratch)) {
    key_ = Take(keys_ * size_);
    value_ = Take(keys_ * size_);
    query_ = TakeBlock();
    scores_ = TakeScores();
  }

  Wide* Take(int64_t n) {
    Wide* const memory = next_;
    next_ += n;
    return memory;
  }
  Wide* TakeBlock() { return Take(kQueries * size_); }   // [kQueries, size]
  Wide* TakeScores() { return Take(kQueries * keys_); }  // [kQueries, keys of the block]

  // Calls begin() for each group, each(queries) for its blocks, and end(b, g).
  template <typename Begin, typename Each, typename End>
  void ForEach(const Begin& begin, const Each& each, const End& end) {
    const Dims& dims = c_.in[0].dims;
    for (int64_t b = 0; b < dims[0].size; ++b) {
      for (int64_t g = 0; g < dims[2].size; ++g) {
        for (int64_t j = 0; j < keys_; ++j) {
          LoadLine<T>(c_.in[1], LineAt(c_.in[1], {b, j, g}, 3), c_.in[1].dims[3].stride, size_,
                      key_ + j * size_);
          LoadLine<T>(c_.in[2], LineAt(c_.in[2], {b, j, g}, 3), c_.in[2].dims[3].stride, size_,
                      value_ + j * size_);
        }
        begin();
        for (int64_t r = 0; r < dims[3].size; ++r) {
          for (int64_t i = 0; i < dims[1].size; i += kQueries) {
            const int64_t count = std::min(kQueries, dims[1].size - i);
            each(Queries{b, g, r, i, count, std::min(keys_, PlaceOf(i + count - 1) + 1)});
          }
        }
        end(b, g);
      }
    }
  }

  // A block of a tensor with a query's dimensions, and back.
  void Load(const Tensor& x, const Queries& block, Wide* to) const {
    for (int64_t i = 0; i < block.count; ++i) {
      LoadLine<T>(x, LineAt(x, {block.b, block.first + i, block.g, block.r}, 4), x.dims[4].stride,
                  size_, to + i * size_);
    }
  }
  void Store(const Wide* from, const Queries& block, const Tensor& x) const {
    for (int64_t i = 0; i < block.count; ++i) {
      StoreLine<T>(from + i * size_, x, LineAt(x, {block.b, block.first + i, block.g, block.r}, 4),
                   x.dims[4].stride, size_);
    }
  }

  // to = q k^T of the block, which it loads.
  void Scores(const Queries& block) {
    Load(c_.in[0], block, query_);
    Product(Block(query_, block), Transposed(KeyMatrix(key_, block)), ScoreMatrix(scores_, block));
  }

  // Calls f(i, the numbers that query i looks at) for the rows of `scores`, and makes the others 0.
  template <typename F>
  void ForEachRow(const Queries& block, Wide* scores, const F& f) const {
    for (int64_t i = 0; i < block.count; ++i) {
      const Keys keys = KeysOf(block, i);
      Wide* const row = scores + i * block.keys;
      std::fill(row, row + keys.first, Wide{0});
      std::fill(row + keys.end, row + block.keys, Wide{0});
      f(i, Numbers<Wide>(row + keys.first, keys.end - keys.first), keys);
    }
  }

  static void Product(const Matrix& a, const Matrix& b, const Matrix& to) {
    if (to.rows == 0 || to.columns == 0) return;
    Gemm(sizeof(Wide) == 8 ? DType::kFloat64 : DType::kFloat32, a, b, nullptr, to, nullptr);
  }

  Matrix Block(Wide* data, const Queries& block) const {
    return {data, block.count, size_, size_, 1};
  }
  Matrix KeyMatrix(Wide* data, const Queries& block) const {
    return {data, block.keys, size_, size_, 1};
  }
  Matrix ScoreMatrix(Wide* data, const Queries& block) const {
    return {data, block.count, block.keys, block.keys, 1};
  }
  Wide& LogSumOf(const Tensor& log_sum, const Queries& block, int64_t i) const {
    return static_cast<Wide*>(
        log_sum.data)[LineAt(log_sum, {block.b, block.first + i, block.g, block.r}, 4)];
  }

  Wide* key() const { return key_; }
  Wide* value() const { return value_; }
  Wide* query() const { return query_; }
  Wide* scores() const { return scores_; }
  Numbers<Wide> Line(Wide* data, int64_t i) const { return {data + i * size_, size_}; }
  int64_t keys() const { return keys_; }
  int64_t size() const { return size_; }

 private:
  // In the whole sequence.
  int64_t PlaceOf(int64_t query) const { return c_.op.PartOf('q').begin + query; }

  Keys KeysOf(const Queries& block, int64_t i) const {
    Keys keys{0, std::min(keys_, PlaceOf(block.first + i) + 1)};
    if (starts_ == nullptr) return keys;
    const int64_t start =
        static_cast<const int32_t*>(starts_->data)[LineAt(*starts_, {block.b, block.first + i}, 2)];
    keys.first = std::clamp(start, int64_t{0}, keys.end);
    return keys;
  }

  const KernelCall& c_;
  const Tensor* const starts_;
  const int64_t keys_, size_;
  Wide* next_;
  Wide *key_, *value_, *query_, *scores_;
};

void Attend(const KernelCall& c, const Tensor* starts) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    Heads<T> heads(c, starts);
    Wide* const out = heads.TakeBlock();
    const auto scale = static_cast<Wide>(c.op.attributes.Number("scale"));
    const auto attend = [&](const Queries& block) {
      heads.Scores(block);
      Wide sums[kQueries];
      heads.ForEachRow(block, heads.scores(), [&](int64_t i, Numbers<Wide> row, const Keys&) {
        Wide& log_sum = heads.LogSumOf(c.out[1], block, i);
        log_sum = 0;
        sums[i] = 1;
        if (row.size() == 0) return;
        row *= scale;
        const Wide greatest = row.maxCoeff();
        row -= greatest;
        ApplyTo(Function::kExp, row.data(), row.data(), row.size());
        sums[i] = row.sum();
        ApplyTo(Function::kLog, &sums[i], &log_sum, 1);
        log_sum += greatest;
      });
      Heads<T>::Product(heads.ScoreMatrix(heads.scores(), block),
                        heads.KeyMatrix(heads.value(), block), heads.Block(out, block));
      for (int64_t i = 0; i < block.count; ++i) heads.Line(out, i) /= sums[i];
      heads.Store(out, block, c.out[0]);
    };
    heads.ForEach([] {}, attend, [](int64_t, int64_t) {});
  });
}

// From q, k, v, o, l and do.
template <typename T>
class AttentionGradient {
 public:
  using Wide = typename Element<T>::Wide;

  AttentionGradient(const KernelCall& c, const Tensor* starts)
      : c_(c), heads_(c, starts), scale_(static_cast<Wide>(c.op.attributes.Number("scale"))) {
    dk_ = heads_.Take(heads_.keys() * heads_.size());
    dv_ = heads_.Take(heads_.keys() * heads_.size());
    added_ = heads_.Take(heads_.keys() * heads_.size());
    out_ = heads_.TakeBlock();
    dout_ = heads_.TakeBlock();
    slopes_ = heads_.TakeScores();
  }

  void Run() {
    const int64_t n = heads_.keys() * heads_.size();
    heads_.ForEach(
        [&] {
          std::fill_n(dk_, n, Wide{0});
          std::fill_n(dv_, n, Wide{0});
        },
        [&](const Queries& block) { AddBlock(block); },
        [&](int64_t b, int64_t g) {
          for (int64_t j = 0; j < heads_.keys(); ++j) {
            for (const auto& [sums, to] :
                 {std::pair(dk_, &c_.out[1]), std::pair(dv_, &c_.out[2])}) {
              StoreLine<T>(sums + j * heads_.size(), *to, LineAt(*to, {b, j, g}, 3),
                           to->dims[3].stride, heads_.size());
            }
          }
        });
  }

 private:
  void AddBlock(const Queries& block) {
    Wide* const weights = heads_.scores();
    heads_.Scores(block);
    heads_.Load(c_.in[3], block, out_);
    heads_.Load(c_.in[5], block, dout_);
    const Matrix dout = heads_.Block(dout_, block);
    Heads<T>::Product(dout, Transposed(heads_.KeyMatrix(heads_.value(), block)),
                      heads_.ScoreMatrix(slopes_, block));
    heads_.ForEachRow(block, weights, [&](int64_t i, Numbers<Wide> row, const Keys&) {
      row = row * scale_ - heads_.LogSumOf(c_.in[4], block, i);
      ApplyTo(Function::kExp, row.data(), row.data(), row.size());
    });
    heads_.ForEachRow(block, slopes_, [&](int64_t i, Numbers<Wide> row, const Keys& keys) {
      const Numbers<Wide> weight(weights + i * block.keys + keys.first, row.size());
      const Wide delta = (heads_.Line(dout_, i) * heads_.Line(out_, i)).sum();
      row = weight * (row - delta) * scale_;
    });
    Add(Transposed(heads_.ScoreMatrix(weights, block)), dout, block, dv_);
    Add(Transposed(heads_.ScoreMatrix(slopes_, block)), heads_.Block(heads_.query(), block), block,
        dk_);
    Heads<T>::Product(heads_.ScoreMatrix(slopes_, block), heads_.KeyMatrix(heads_.key(), block),
                      heads_.Block(out_, block));
    heads_.Store(out_, block, c_.out[0]);
  }

  // sums += a b, of the block's keys.
  void Add(const Matrix& a, const Matrix& b, const Queries& block, Wide* sums) {
    Heads<T>::Product(a, b, heads_.KeyMatrix(added_, block));
    const int64_t n = block.keys * heads_.size();
    Numbers<Wide>(sums, n) += Numbers<Wide>(added_, n);
  }

  const KernelCall& c_;
  Heads<T> heads_;
  const Wide scale_;
  Wide *dk_, *dv_, *added_, *out_, *dout_, *slopes_;
};

void AttendBack(const KernelCall& c, const Tensor* starts) {
  VisitElement(c.dtype, [&]<typename T>(T) { AttentionGradient<T>(c, starts).Run(); });
}

// So many lines of a head's size for each key, and blocks of queries and of scores; as doubles.
int64_t Bytes(const KernelCall& c, int64_t lines, int64_t blocks, int64_t scores) {
  const int64_t keys = c.in[1].dims[1].size, size = c.in[0].dims[4].size;
  return 8 * (lines * keys * size + kQueries * (blocks * size + scores * keys));
}
int64_t ForwardBytes(const KernelCall& c) { return Bytes(c, 2, 2, 1); }
int64_t BackwardBytes(const KernelCall& c) { return Bytes(c, 5, 3, 2); }

}  // namespace

const Kernel kAttentionKernel = {Action{"attention"},
                                 [](const KernelCall& c) { Attend(c, nullptr); }, ForwardBytes};
const Kernel kPackedAttentionKernel = {
    Action{"packed_attention"}, [](const KernelCall& c) { Attend(c, &c.in[3]); }, ForwardBytes};
const Kernel kAttentionGradKernel = {
    Action{"attention_grad"}, [](const KernelCall& c) { AttendBack(c, nullptr); }, BackwardBytes};
const Kernel kPackedAttentionGradKernel = {Action{"packed_attention_grad"},
                                           [](const KernelCall& c) { AttendBack(c, &c.in[6]); },
                                           BackwardBytes};

}  // namespace tp::cpu
