#include <algorithm>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// `x` [b, s, e] from place `begin` on, so many places of it.
Tensor Places(const Tensor& x, DType dtype, int64_t begin, int64_t count) {
  Tensor part = x;
  part.data = static_cast<std::byte*>(x.data) + begin * x.dims[1].stride * SizeOf(dtype);
  part.dims[1].size = count;
  return part;
}

void AddPositions(const KernelCall& c) {
  const Tensor &x = c.in[0], &table = c.in[1], &out = c.out[0];
  const int64_t first = c.op.PartOf('s').begin;
  // Places that the table has a row for; the others are what they were.
  const int64_t places = std::clamp(table.dims[0].size - first, int64_t{0}, x.dims[1].size);
  Tensor rows(static_cast<std::byte*>(table.data) + first * table.dims[0].stride * SizeOf(c.dtype),
              {});
  rows.dims.push_back({x.dims[0].size, 0});
  rows.dims.push_back({places, table.dims[0].stride});
  rows.dims.push_back(table.dims[1]);
  ForEachBlock<2, 1>(c.dtype, {Places(x, c.dtype, 0, places), rows},
                     {Places(out, c.dtype, 0, places)},
                     [](const auto& in, auto& sum) { sum[0] = in[0] + in[1]; });
  const int64_t others = x.dims[1].size - places;
  ForEachBlock<1, 1>(c.dtype, {Places(x, c.dtype, places, others)},
                     {Places(out, c.dtype, places, others)},
                     [](const auto& in, auto& same) { same[0] = in[0]; });
}

void AddPositionsGrad(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const Tensor &dy = c.in[0], &out = c.out[0];
    const int64_t first = c.op.PartOf('s').begin;
    Wide sums[kBlock], line[kBlock];
    for (int64_t row = 0; row < out.dims[0].size; ++row) {
      const int64_t place = row - first;
      const bool here = place >= 0 && place < dy.dims[1].size;
      for (int64_t begin = 0; begin < out.dims[1].size; begin += kBlock) {
        const int64_t n = std::min(kBlock, out.dims[1].size - begin);
        std::fill_n(sums, n, Wide{0});
        for (int64_t b = 0; here && b < dy.dims[0].size; ++b) {
          LoadLine<T>(dy, LineAt(dy, {b, place, begin}, 3), dy.dims[2].stride, n, line);
          for (int64_t j = 0; j < n; ++j) sums[j] += line[j];
        }
        StoreLine<T>(sums, out, LineAt(out, {row, begin}, 2), out.dims[1].stride, n);
      }
    }
  });
}

}  // namespace

const Kernel kAddPositionsKernel = {Action{"add_positions"}, AddPositions};
const Kernel kAddPositionsGradKernel = {Action{"add_positions_grad"}, AddPositionsGrad};

}  // namespace tp::cpu
