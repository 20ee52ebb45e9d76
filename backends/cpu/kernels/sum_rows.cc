#include "backends/cpu/blocked_gemm.h"
#include "backends/cpu/element.h"
#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/rows.h"

namespace tp::cpu {
namespace {

template <typename T>
void SumColumnwise(const Matrix& g, T* out, int64_t stride) {  // each column is contiguous
  for (int64_t j = 0; j < g.columns; ++j) {
    const T* column = static_cast<const T*>(g.data) + j * g.column_stride;
    LaneSum sum;
    sum.Add(g.rows, [&](int64_t i) {
      return static_cast<double>(Element<T>::Widen(column[i * g.row_stride]));
    });
    out[j * stride] = Element<T>::Narrow(static_cast<typename Element<T>::Wide>(sum.Total()));
  }
}

template <typename T>
void SumRowwise(const Matrix& g, T* out, int64_t stride) {  // each row is contiguous
  constexpr int64_t kTile = 256;
  for (int64_t begin = 0; begin < g.columns; begin += kTile) {
    const int64_t width = std::min(kTile, g.columns - begin);
    double sums[kTile] = {};
    for (int64_t i = 0; i < g.rows; ++i) {
      const T* row = static_cast<const T*>(g.data) + i * g.row_stride + begin * g.column_stride;
      for (int64_t j = 0; j < width; ++j) sums[j] += Element<T>::Widen(row[j * g.column_stride]);
    }
    for (int64_t j = 0; j < width; ++j) {
      out[(begin + j) * stride] =
          Element<T>::Narrow(static_cast<typename Element<T>::Wide>(sums[j]));
    }
  }
}

}  // namespace

void SumRows(DType dtype, const Matrix& g, const Matrix& out) {
  VisitElement(dtype, [&]<typename T>(T) {
    T* sums = static_cast<T*>(out.data);
    if (ColumnsOutermost(g)) {
      SumColumnwise(g, sums, out.column_stride);
    } else {
      SumRowwise(g, sums, out.column_stride);
    }
  });
}

const Kernel kSumRowsKernel = {Action::kSumRows, [](const KernelCall& c) {
                                 SumRows(c.dtype, c.in[0].matrix(), c.out[0].matrix());
                               }};
const Kernel kBlockedSumRowsKernel = {
    Action::kBlockedSumRows,
    [](const KernelCall& c) {
      BlockedSumRows(c.dtype, c.in[0].matrix(), c.op.sum, c.out_dtype, Matrices(c.out), c.scratch);
    },
    [](const KernelCall& c) {
      const Matrix g = c.in[0].matrix();
      return BlockedGemmScratchBytes(c.dtype, 1, g.columns, g.rows);
    }};
const Kernel kSumBlocksKernel = {Action::kSumBlocks, [](const KernelCall& c) {
                                   SumBlocks(c.out_dtype, c.in[0].matrix(), c.op.sum,
                                             c.out[0].matrix());
                                 }};

}  // namespace tp::cpu
