#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

struct Table {
  const void* data;
  int64_t rows, row_stride, stride;
  int64_t begin;  // the id of its first row
};

// Lanes: ids, the rows that they stand for.
template <typename T, int kVector, int kPerRow>
__global__ void __launch_bounds__(kThreads)
    EmbeddingKernel(const __grid_constant__ Rows<2> rows, Table table) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t i, int thread) {
    int64_t at[2];
    rows.places.Find(i, at);
    const int64_t row = static_cast<const int32_t*>(rows.data[0])[at[0]] - table.begin;
    const bool here = row >= 0 && row < table.rows;
    const T* from = static_cast<const T*>(table.data) + (here ? row : 0) * table.row_stride;
    T* to = static_cast<T*>(rows.data[1]) + at[1];
    for (int64_t j = thread * kVector; j < rows.length; j += kPerRow * kVector) {
      A part[kVector] = {};
      if (here) LoadVector<T, kVector>(from + j * table.stride, table.stride, part);
      StoreVector<T, kVector>(to + j * rows.strides[1], part);
    }
  });
}

Table TableOf(const KernelCall& c, const DeviceView& view) {
  return {view.data, view.dims[0].size, view.dims[0].stride, view.dims[1].stride,
          c.op.PartOf('v').begin};
}

bool TableIsEven(const DeviceView& view) {
  Places<1> rows;
  rows.PushBack(view.dims[0].size, {view.dims[0].stride});
  return LinesAreEven(rows, 0, view, view.dims[1].stride, view.dims[1].size);
}

cudaError_t Embedding(const KernelCall& c, cudaStream_t stream) {
  Rows<2> rows = MakeRows<2>({RowView{c.in[0], false}, {c.out[0]}});
  rows.even = rows.even && TableIsEven(c.in[1]);
  return Dispatch(c.out[0].dtype, [&](auto type) {
    using T = decltype(type);
    return DispatchRows<T>(rows, [&](auto per_row, auto vector, unsigned blocks) {
      return LaunchKernel(EmbeddingKernel<T, vector.value, per_row.value>, blocks, kThreads, stream,
                          rows, TableOf(c, c.in[1]));
    });
  });
}

}  // namespace

const Kernel kEmbeddingKernel = {Action{"embedding"}, Embedding};

}  // namespace tp::nccl
