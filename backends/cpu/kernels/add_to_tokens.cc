#include <algorithm>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// `bias` under each token of `x`.
Tensor UnderTokens(const Tensor& x, const Tensor& bias) {
  Tensor under(bias.data, {});
  under.dims.push_back({x.dims[0].size, 0});
  under.dims.push_back({x.dims[1].size, 0});
  for (const Dim& dim : bias.dims) under.dims.push_back(dim);
  return under;
}

void AddToTokens(const KernelCall& c) {
  ForEachBlock<2, 1>(c.dtype, {c.in[0], UnderTokens(c.in[0], c.in[1])}, {c.out[0]},
                     [](const auto& in, auto& out) { out[0] = in[0] + in[1]; });
}

// Line by line of the sum, one token after the other.
void SumTokens(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const Tensor &x = c.in[0], &out = c.out[0];
    const int rank = out.dims.size();
    const Dim to = rank == 0 ? Dim{1, 1} : out.dims[rank - 1];
    const int64_t from_stride = rank == 0 ? 1 : x.dims[rank + 1].stride;
    double sums[kBlock];
    Wide line[kBlock];
    ForEachIndex(out, std::max(rank - 1, 0), [&](const Index& index) {
      int64_t at = 0;
      for (int d = 0; d + 1 < rank; ++d) at += index[d] * x.dims[d + 2].stride;
      for (int64_t begin = 0; begin < to.size; begin += kBlock) {
        const int64_t n = std::min(kBlock, to.size - begin);
        std::fill_n(sums, n, 0.0);
        for (int64_t b = 0; b < x.dims[0].size; ++b) {
          for (int64_t s = 0; s < x.dims[1].size; ++s) {
            LoadLine<T>(x, at + b * x.dims[0].stride + s * x.dims[1].stride + begin * from_stride,
                        from_stride, n, line);
            for (int64_t j = 0; j < n; ++j) sums[j] += line[j];
          }
        }
        for (int64_t j = 0; j < n; ++j) line[j] = static_cast<Wide>(sums[j]);
        StoreLine<T>(line, out, LineAt(out, index, std::max(rank - 1, 0)) + begin * to.stride,
                     to.stride, n);
      }
    });
  });
}

}  // namespace

const Kernel kAddToTokensKernel = {Action{"add_to_tokens"}, AddToTokens};
const Kernel kSumTokensKernel = {Action{"sum_tokens"}, SumTokens};

}  // namespace tp::cpu
