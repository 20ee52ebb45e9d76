#include "backends/cpu/gemm.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>
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

// What c holds before the product is added: the bias on each row, or zero.
template <typename T>
void Begin(const Matrix* bias, const Matrix& c) {
  VisitMap<T>(c, [&](auto c_map) {
    if (bias == nullptr) {
      c_map.setZero();
      return;
    }
    const Eigen::Map<const Eigen::Matrix<T, 1, Eigen::Dynamic>, 0, Eigen::InnerStride<>> row(
        static_cast<const T*>(bias->data), bias->columns,
        Eigen::InnerStride<>(bias->column_stride));
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

// c = a b + beta c.
template <typename T>
void Multiply(const Blas& blas, Matrix a, Matrix b, Matrix c, T beta) {
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
                   &left.stride, static_cast<const T*>(b.data), &step_in, &beta,
                   static_cast<T*>(c.data), &step_out);
    return;
  }
  const Operand right(b);
  const Operand out(c);
  blas.gemm<T>()(&left.transposed, &right.transposed, &out.rows, &out.columns, &left.columns, &one,
                 static_cast<const T*>(a.data), &left.stride, static_cast<const T*>(b.data),
                 &right.stride, &beta, static_cast<T*>(c.data), &out.stride);
}

template <typename T>
void NativeGemm(const Matrix& a, const Matrix& b, const Matrix* bias, const Matrix& c) {
  if (a.columns == 0) return Begin<T>(bias, c);
  const Blas* const blas = LoadedBlas();
  if (blas == nullptr || IsSmall(a, c) || !FitsBlas(a) || !FitsBlas(b) || !FitsBlas(c)) {
    Begin<T>(bias, c);
    return Accumulate<T>(a, b, c);
  }
  const bool vector = c.rows == 1 || c.columns == 1;  // gemv may read what it multiplies by zero
  if (bias != nullptr || vector) Begin<T>(bias, c);
  Multiply<T>(*blas, a, b, c, bias != nullptr || vector ? T{1} : T{0});
}

// A packed fp32 matrix of m's shape and order at `memory`.
Matrix Packed(const Matrix& m, float* memory) {
  if (RowMajor(m)) return {memory, m.rows, m.columns, m.columns, 1};
  return {memory, m.rows, m.columns, 1, m.rows};
}

// Rows of the direction in which m is contiguous.
struct Lines {
  int64_t count, length, stride;
};
Lines LinesOf(const Matrix& m) {
  if (RowMajor(m)) return {m.rows, m.columns, m.row_stride};
  return {m.columns, m.rows, m.column_stride};
}

template <typename T>
Matrix Widen(const Matrix& m, float*& scratch) {
  const Matrix wide = Packed(m, scratch);
  scratch += m.rows * m.columns;
  const Lines lines = LinesOf(m);
  for (int64_t i = 0; i < lines.count; ++i) {
    const T* from = static_cast<const T*>(m.data) + i * lines.stride;
    float* to = static_cast<float*>(wide.data) + i * lines.length;
    for (int64_t j = 0; j < lines.length; ++j) to[j] = Element<T>::Widen(from[j]);
  }
  return wide;
}

template <typename T>
void NarrowGemm(const Matrix& a, const Matrix& b, const Matrix* bias, const Matrix& c,
                float* scratch) {
  const Matrix wide_a = Widen<T>(a, scratch);
  const Matrix wide_b = Widen<T>(b, scratch);
  Matrix wide_bias;
  if (bias != nullptr) wide_bias = Widen<T>(*bias, scratch);
  const Matrix wide_c = Packed(c, scratch);
  NativeGemm<float>(wide_a, wide_b, bias != nullptr ? &wide_bias : nullptr, wide_c);
  const Lines lines = LinesOf(c);
  for (int64_t i = 0; i < lines.count; ++i) {
    const float* from = static_cast<const float*>(wide_c.data) + i * lines.length;
    T* to = static_cast<T*>(c.data) + i * lines.stride;
    for (int64_t j = 0; j < lines.length; ++j) to[j] = Element<T>::Narrow(from[j]);
  }
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

int64_t GemmScratchFloats(DType dtype, int64_t m, int64_t n, int64_t k) {
  if (dtype == DType::kFloat64 || dtype == DType::kFloat32) return 0;
  return m * k + k * n + n + m * n;
}

void Gemm(DType dtype, const Matrix& a, const Matrix& b, const Matrix* bias, const Matrix& c,
          float* scratch) {
  CHECK(a.rows == c.rows && b.columns == c.columns && a.columns == b.rows);
  if (c.rows == 0 || c.columns == 0) return;
  switch (dtype) {
    case DType::kFloat64:
      return NativeGemm<double>(a, b, bias, c);
    case DType::kFloat32:
      return NativeGemm<float>(a, b, bias, c);
    case DType::kBFloat16:
      return NarrowGemm<BFloat16>(a, b, bias, c, scratch);
    case DType::kFloat16:
      return NarrowGemm<Half>(a, b, bias, c, scratch);
  }
}

}  // namespace tp::cpu
