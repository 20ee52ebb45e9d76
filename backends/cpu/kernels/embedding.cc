#include <algorithm>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

int64_t RowOf(const KernelCall& c, const Index& index, int64_t rows) {
  const Tensor& ids = c.in[0];
  const int64_t row = static_cast<const int32_t*>(ids.data)[LineAt(ids, index, ids.dims.size())] -
                      c.op.PartOf('v').begin;
  return row >= 0 && row < rows ? row : -1;
}

void Embedding(const KernelCall& c) {
  VisitElement(c.out_dtype, [&]<typename T>(T) {
    const Tensor &table = c.in[1], &out = c.out[0];
    const int dims = c.in[0].dims.size();
    const Dim to = out.dims[dims];
    ForEachIndex(c.in[0], dims, [&](const Index& index) {
      const int64_t row = RowOf(c, index, table.dims[0].size);
      T* const line = static_cast<T*>(out.data) + LineAt(out, index, dims);
      const T* const from =
          static_cast<const T*>(table.data) + std::max<int64_t>(row, 0) * table.dims[0].stride;
      if (to.stride == 1 && table.dims[1].stride == 1) {
        row < 0 ? std::fill_n(line, to.size, T{}) : std::copy_n(from, to.size, line);
        return;
      }
      for (int64_t j = 0; j < to.size; ++j) {
        line[j * to.stride] = row < 0 ? T{} : from[j * table.dims[1].stride];
      }
    });
  });
}

// Ids are put in a list by row first, so that each row's sum is taken in one go, in order, in the
// accumulator's type.
void EmbeddingGrad(const KernelCall& c) {
  VisitElement(c.out_dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const Tensor &ids = c.in[0], &dy = c.in[1], &out = c.out[0];
    const int dims = ids.dims.size();
    const int64_t rows = out.dims[0].size, columns = out.dims[1].size;
    auto* const first = reinterpret_cast<int64_t*>(c.scratch);  // by row: its first line of dy
    int64_t* const last = first + rows;
    int64_t* const places = last + rows;  // by id: where its line of dy is
    int64_t count = 1;
    for (const Dim& dim : ids.dims) count *= dim.size;
    int64_t* const next = places + count;  // by id: the next one of the same row
    std::fill_n(first, rows, -1);
    int64_t i = 0;
    ForEachIndex(ids, dims, [&](const Index& index) {
      const int64_t row = RowOf(c, index, rows);
      places[i] = LineAt(dy, index, dims);
      next[i] = -1;
      if (row >= 0) {
        (first[row] < 0 ? first[row] : next[last[row]]) = i;
        last[row] = i;
      }
      ++i;
    });
    const Dim from = dy.dims[dims];
    Wide sums[kBlock], line[kBlock];
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t begin = 0; begin < columns; begin += kBlock) {
        const int64_t n = std::min(kBlock, columns - begin);
        std::fill_n(sums, n, Wide{0});
        for (int64_t id = first[row]; id >= 0; id = next[id]) {
          LoadLine<T>(dy, places[id] + begin * from.stride, from.stride, n, line);
          for (int64_t j = 0; j < n; ++j) sums[j] += line[j];
        }
        StoreLine<T>(sums, out, row * out.dims[0].stride + begin * out.dims[1].stride,
                     out.dims[1].stride, n);
      }
    }
  });
}

int64_t ListBytes(const KernelCall& c) {
  int64_t count = 1;
  for (const Dim& dim : c.in[0].dims) count *= dim.size;
  return 16 * (c.out[0].dims[0].size + count);
}

}  // namespace

const Kernel kEmbeddingKernel = {Action{"embedding"}, Embedding};
const Kernel kEmbeddingGradKernel = {Action{"embedding_grad"}, EmbeddingGrad, ListBytes};

}  // namespace tp::cpu
