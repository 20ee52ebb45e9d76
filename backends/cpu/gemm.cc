#include "backends/cpu/gemm.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "Eigen/Core"
#include "backends/cpu/blas.h"
#include "backends/cpu/element.h"

namespace tp::cpu {
namespace {

template <typename T, int kOrder>
using EigenMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, kOrder>;
template <typename T, int kOrder>
using EigenMap = Eigen::Map<EigenMatrix<T, kOrder>, 0, Eigen::OuterStride<>>;

// Whether it is contiguous along its rows or its columns, as products take it.
bool LiesAlong(const Matrix& m) {
  const bool repeats = (m.rows > 1 && m.row_stride == 0) || (m.columns > 1 && m.column_stride == 0);
  return !repeats && (m.column_stride == 1 || m.row_stride == 1 || m.rows == 1);
}

bool RowMajor(const Matrix& m) {
  return m.column_stride == 1 && (m.row_stride != 1 || m.columns > 1 || m.rows == 1);
}

template <typename T, int kOrder>
EigenMap<T, kOrder> Map(const Matrix& m) {
  const bool row_major = kOrder == Eigen::RowMajor;
  const int64_t outer = row_major ? m.row_stride : m.column_stride;
  // A single row (or column) may have any stride; BLAS wants one that covers it.
  const int64_t least = row_major ? m.columns : m.rows;
  const int64_t outers = row_major ? m.rows : m.columns;
  return EigenMap<T, kOrder>(static_cast<T*>(m.data), m.rows, m.columns,
                             Eigen::OuterStride<>(outers == 1 ? std::max(outer, least) : outer));
}

// Calls visit with m as an Eigen map of its order.
template <typename T, typename Visitor>
void VisitMap(const Matrix& m, Visitor&& visit) {
  if (RowMajor(m)) {
    visit(Map<T, Eigen::RowMajor>(m));
  } else {
    CHECK(m.row_stride == 1 || m.rows == 1) << "a matrix contiguous in neither direction";
    visit(Map<T, Eigen::ColMajor>(m));
  }
}

// c += a b, by Eigen's own kernels.
template <typename T>
void Accumulate(const Matrix& a, const Matrix& b, const Matrix& c) {
  VisitMap<T>(a, [&](const auto& a_map) {
    VisitMap<T>(b, [&](const auto& b_map) {
      VisitMap<T>(c, [&](auto c_map) { c_map.noalias() += a_map * b_map; });
    });
  });
}

// What c holds before the product is added: a matrix, a bias on each row, or zero.
template <typename T>
void Begin(const Matrix* added, const Matrix& c) {
  VisitMap<T>(c, [&](auto c_map) {
    if (added == nullptr) {
      c_map.setZero();
      return;
    }
    if (added->rows > 1) {
      VisitMap<T>(*added, [&](const auto& added_map) { c_map = added_map; });
      return;
    }
    const Eigen::Map<const Eigen::Matrix<T, 1, Eigen::Dynamic>, 0, Eigen::InnerStride<>> row(
        static_cast<const T*>(added->data), added->columns,
        Eigen::InnerStride<>(added->column_stride));
    c_map.rowwise() = row;
  });
}

Matrix Transposed(const Matrix& m) {
  return {m.data, m.columns, m.rows, m.column_stride, m.row_stride};
}

// A matrix as BLAS takes it: by columns, or transposed.
struct Operand {
  explicit Operand(const Matrix& m)
      : rows(static_cast<int>(m.rows)), columns(static_cast<int>(m.columns)) {
    const bool by_rows = RowMajor(m);
    transposed = by_rows ? 'T' : 'N';
    const int64_t outer = by_rows ? m.row_stride : m.column_stride;
    const int64_t least = by_rows ? m.columns : m.rows;
    stride = static_cast<int>(std::max({outer, least, int64_t{1}}));
  }
  char transposed;
  int rows, columns, stride;
};

// So small that a call of BLAS costs more than the product; Eigen draws the same line.
bool IsSmall(const Matrix& a, const Matrix& c) { return a.columns + c.rows + c.columns < 20; }

// BLAS counts in int.
bool FitsBlas(const Matrix& m) {
  return std::max({m.rows, m.columns, m.row_stride, m.column_stride}) <=
         std::numeric_limits<int>::max();
}

// c += a b.
template <typename T>
void Multiply(const Blas& blas, Matrix a, Matrix b, Matrix c) {
  const T one = 1;
  // c by columns; and a vector, which BLAS has a function of its own for, upright.
  if (c.rows == 1 || (RowMajor(c) && c.columns != 1)) {
    std::swap(a, b);
    a = Transposed(a);
    b = Transposed(b);
    c = Transposed(c);
  }
  const Operand left(a);
  if (c.columns == 1) {
    const bool upright = left.transposed == 'N';
    const int step_in = b.rows == 1 ? 1 : static_cast<int>(b.row_stride);
    const int step_out = c.rows == 1 ? 1 : static_cast<int>(c.row_stride);
    blas.gemv<T>()(&left.transposed, upright ? &left.rows : &left.columns,
                   upright ? &left.columns : &left.rows, &one, static_cast<const T*>(a.data),
                   &left.stride, static_cast<const T*>(b.data), &step_in, &one,
                   static_cast<T*>(c.data), &step_out);
    return;
  }
  const Operand right(b);
  const Operand out(c);
  blas.gemm<T>()(&left.transposed, &right.transposed, &out.rows, &out.columns, &left.columns, &one,
                 static_cast<const T*>(a.data), &left.stride, static_cast<const T*>(b.data),
                 &right.stride, &one, static_cast<T*>(c.data), &out.stride);
}

// c = a b [+ a matrix, or a bias on each row], or c += a b where it holds a part of the sum
// already.
template <typename T>
void MultiplyMatrices(const Matrix& a, const Matrix& b, const Matrix* added, const Matrix& c,
                      bool add) {
  // Not by beta = 0: how OpenBLAS writes zeros made a step by rows of 20 x 1000 x 1000 take 1.09 of
  // its time with kernels for Zen.
  if (!add) Begin<T>(added, c);
  if (a.columns == 0) return;
  const Blas* const blas = LoadedBlas();
  if (blas == nullptr || IsSmall(a, c) || !FitsBlas(a) || !FitsBlas(b) || !FitsBlas(c)) {
    return Accumulate<T>(a, b, c);
  }
  Multiply<T>(*blas, a, b, c);
}

// A packed matrix of m's shape and order at `memory`.
template <typename W>
Matrix Packed(const Matrix& m, W* memory) {
  if (RowMajor(m)) return {memory, m.rows, m.columns, m.columns, 1};
  return {memory, m.rows, m.columns, 1, m.rows};
}

// The lines of m in that order, whose elements are `step` apart: 1 where m lies along them.
struct Lines {
  int64_t count, length, stride, step;
};
Lines LinesOf(const Matrix& m) {
  if (RowMajor(m)) return {m.rows, m.columns, m.row_stride, 1};
  return {m.columns, m.rows, m.column_stride, m.rows == 1 ? 1 : m.row_stride};
}

// m, widened, at `packed`.
template <typename T, typename W = typename Element<T>::Wide>
void Pack(const Matrix& m, const Matrix& packed) {
  const Lines lines = LinesOf(m);
  for (int64_t i = 0; i < lines.count; ++i) {
    const T* from = static_cast<const T*>(m.data) + i * lines.stride;
    W* to = static_cast<W*>(packed.data) + i * lines.length;
    if (lines.step == 1) {
      for (int64_t j = 0; j < lines.length; ++j) to[j] = Element<T>::Widen(from[j]);
    } else {
      for (int64_t j = 0; j < lines.length; ++j) to[j] = Element<T>::Widen(from[j * lines.step]);
    }
  }
}

template <typename T, typename W = typename Element<T>::Wide>
void Unpack(const Matrix& packed, const Matrix& m) {
  const Lines lines = LinesOf(m);
  for (int64_t i = 0; i < lines.count; ++i) {
    const W* from = static_cast<const W*>(packed.data) + i * lines.length;
    T* to = static_cast<T*>(m.data) + i * lines.stride;
    if (lines.step == 1) {
      for (int64_t j = 0; j < lines.length; ++j) to[j] = Element<T>::Narrow(from[j]);
    } else {
      for (int64_t j = 0; j < lines.length; ++j) to[j * lines.step] = Element<T>::Narrow(from[j]);
    }
  }
}

// Whether matrices of this type that lie like m are multiplied in scratch.
bool IsPacked(DType dtype, const Matrix& m) {
  return AccumulatorOf(dtype) != dtype || !LiesAlong(m);
}

// What is added as a matrix for each index of the loops: a bias as one of one row.
Tensor AsMatrices(const Tensor& added, int loops) {
  if (added.dims.size() == loops + 2) return added;
  Tensor rows(added.data, {});
  for (int d = 0; d < loops; ++d) rows.dims.push_back(added.dims[d]);
  rows.dims.push_back({1, 1});
  rows.dims.push_back(added.dims[loops]);
  return rows;
}

// The matrices of a tensor, one for each index of the loops around a product.
template <typename T>
class Series {
 public:
  using Wide = typename Element<T>::Wide;

  // Takes from `scratch` what one matrix needs.
  Series(DType dtype, const Tensor& tensor, int loops, Wide*& scratch)
      : tensor_(tensor),
        first_(tensor.matrix()),
        loops_(loops),
        packed_(IsPacked(dtype, first_)),
        scratch_(scratch) {
    if (packed_) scratch += first_.rows * first_.columns;
  }

  bool packed() const { return packed_; }
  // At loop indices i + j, as it lies.
  Matrix At(const Index& i, const Index& j) const {
    Matrix m = first_;
    for (int d = 0; d < loops_; ++d) {
      m.data = static_cast<T*>(m.data) + (i[d] + j[d]) * tensor_.dims[d].stride;
    }
    return m;
  }
  // Its place in scratch.
  Matrix InScratch() const { return Packed(first_, scratch_); }
  // As it is multiplied. Packed once where the loops come back to it at once.
  Matrix Ready(const Index& i, const Index& j) {
    const Matrix m = At(i, j);
    if (!packed_) return m;
    if (m.data != held_) Pack<T>(m, InScratch());
    held_ = m.data;
    return InScratch();
  }

 private:
  const Tensor tensor_;
  const Matrix first_;
  const int loops_;
  const bool packed_;
  Wide* const scratch_;
  const void* held_ = nullptr;
};

template <typename T>
void GemmOfType(DType dtype, const Tensor& a, const Tensor& b, const Tensor* added, const Tensor& c,
                std::byte* memory) {
  using Wide = typename Element<T>::Wide;
  const int loops = c.dims.size() - 2;
  auto* scratch = reinterpret_cast<Wide*>(memory);
  View kept, summed;  // the loops that c has, and those that it is a sum over
  for (int d = 0; d < loops; ++d) {
    const int64_t size = c.dims[d].size;
    const bool sums = c.dims[d].stride == 0;
    kept.dims.push_back({sums ? 1 : size, 0});
    summed.dims.push_back({sums ? size : 1, 0});
  }
  Series<T> of_a(dtype, a, loops, scratch);
  Series<T> of_b(dtype, b, loops, scratch);
  std::optional<Series<T>> of_added;
  if (added != nullptr) of_added.emplace(dtype, AsMatrices(*added, loops), loops, scratch);
  const Series<T> of_c(dtype, c, loops, scratch);
  ForEachElement(kept, [&](const Index& i, int64_t) {
    const Matrix out = of_c.At(i, {});
    const Matrix sum = of_c.packed() ? of_c.InScratch() : out;
    const Matrix first = of_added ? of_added->Ready(i, {}) : Matrix();
    bool add = false;
    ForEachElement(summed, [&](const Index& j, int64_t) {
      MultiplyMatrices<Wide>(of_a.Ready(i, j), of_b.Ready(i, j), of_added ? &first : nullptr, sum,
                             add);
      add = true;
    });
    if (of_c.packed()) Unpack<T>(sum, out);
  });
}

}  // namespace

std::string GemmLibrary() {
  const std::string eigen = "Eigen " + std::to_string(EIGEN_WORLD_VERSION) + "." +
                            std::to_string(EIGEN_MAJOR_VERSION) + "." +
                            std::to_string(EIGEN_MINOR_VERSION);
  const std::string blas = DescribeBlas();
  if (LoadedBlas() != nullptr) return blas;
  return blas.empty() ? eigen : eigen + " (" + blas + ")";
}

Status PrepareGemms(int count) { return ReserveBlas(count); }

int64_t GemmScratchBytes(DType dtype, const Tensor& a, const Tensor& b, const Tensor* added,
                         const Tensor& c) {
  int64_t elements = 0;
  const auto add = [&](const Matrix& m) {
    if (IsPacked(dtype, m)) elements += m.rows * m.columns;
  };
  for (const Tensor* tensor : {&a, &b, &c}) add(tensor->matrix());
  if (added != nullptr) add(AsMatrices(*added, c.dims.size() - 2).matrix());
  return elements * SizeOf(AccumulatorOf(dtype));
}

void Gemm(DType dtype, const Tensor& a, const Tensor& b, const Tensor* added, const Tensor& c,
          std::byte* scratch) {
  const Matrix first_a = a.matrix(), first_b = b.matrix(), first_c = c.matrix();
  CHECK(a.dims.size() == c.dims.size() && b.dims.size() == c.dims.size() && c.dims.size() >= 2);
  CHECK(first_a.rows == first_c.rows && first_b.columns == first_c.columns &&
        first_a.columns == first_b.rows);
  if (c.empty()) return;
  VisitElement(dtype, [&]<typename T>(T) { GemmOfType<T>(dtype, a, b, added, c, scratch); });
}

}  // namespace tp::cpu
