#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// The line of a tensor's last dimension.
Dim LineOf(const Tensor& x) { return x.dims[x.dims.size() - 1]; }

template <typename Wide>
Wide& At(const Tensor& tensor, const Index& index, int dims) {
  return static_cast<Wide*>(tensor.data)[LineAt(tensor, index, dims)];
}

// Scratch: so many lines in double, which have room for any type.
int64_t LineBytes(const KernelCall& c, int64_t count) { return count * LineOf(c.in[0]).size * 8; }

template <typename Term>
double MeanOf(int64_t n, const Term& term) {
  LaneSum sum;
  sum.Add(n, term);
  return sum.Total() / static_cast<double>(n);
}

void LayerNorm(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const Tensor &x = c.in[0], &y = c.out[0];
    const int rows = x.dims.size() - 1;
    const int64_t n = LineOf(x).size;
    Wide* const gain = reinterpret_cast<Wide*>(c.scratch);
    Wide* const bias = gain + n;
    Wide* const line = bias + n;
    LoadLine<T>(c.in[1], 0, LineOf(c.in[1]).stride, n, gain);
    LoadLine<T>(c.in[2], 0, LineOf(c.in[2]).stride, n, bias);
    ForEachIndex(x, rows, [&](const Index& index) {
      LoadLine<T>(x, LineAt(x, index, rows), LineOf(x).stride, n, line);
      const auto mean =
          static_cast<Wide>(MeanOf(n, [&](int64_t j) { return static_cast<double>(line[j]); }));
      Numbers<Wide> numbers(line, n);
      numbers -= mean;
      Wide r = static_cast<Wide>(
          MeanOf(n, [&](int64_t j) { return static_cast<double>(line[j]) * line[j]; }) +
          c.op.attributes.Number("eps"));
      ApplyTo(Function::kRsqrt, &r, &r, 1);
      numbers = numbers * r * Numbers<Wide>(gain, n) + Numbers<Wide>(bias, n);
      StoreLine<T>(line, y, LineAt(y, index, rows), LineOf(y).stride, n);
      At<Wide>(c.out[1], index, rows) = mean;
      At<Wide>(c.out[2], index, rows) = r;
    });
  });
}

void LayerNormGrad(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const Tensor &x = c.in[0], &dy = c.in[4], &dx = c.out[0];
    const int rows = x.dims.size() - 1;
    const int64_t n = LineOf(x).size;
    auto* const gains = reinterpret_cast<double*>(c.scratch);  // sums, of dgain
    double* const biases = gains + n;
    Wide* const gain = reinterpret_cast<Wide*>(biases + n);
    Wide* const normed = gain + n;
    Wide* const slope = normed + n;
    std::fill_n(gains, 2 * n, 0.0);
    LoadLine<T>(c.in[1], 0, LineOf(c.in[1]).stride, n, gain);
    ForEachIndex(x, rows, [&](const Index& index) {
      LoadLine<T>(x, LineAt(x, index, rows), LineOf(x).stride, n, normed);
      LoadLine<T>(dy, LineAt(dy, index, rows), LineOf(dy).stride, n, slope);
      const Wide r = At<Wide>(c.in[3], index, rows);
      Numbers<Wide> x_hat(normed, n), g(slope, n);
      x_hat = (x_hat - At<Wide>(c.in[2], index, rows)) * r;
      for (int64_t j = 0; j < n; ++j) gains[j] += static_cast<double>(slope[j]) * normed[j];
      for (int64_t j = 0; j < n; ++j) biases[j] += slope[j];
      g *= Numbers<Wide>(gain, n);
      const auto mean =
          static_cast<Wide>(MeanOf(n, [&](int64_t j) { return static_cast<double>(slope[j]); }));
      const auto along = static_cast<Wide>(
          MeanOf(n, [&](int64_t j) { return static_cast<double>(slope[j]) * normed[j]; }));
      g = r * (g - mean - x_hat * along);
      StoreLine<T>(slope, dx, LineAt(dx, index, rows), LineOf(dx).stride, n);
    });
    for (const auto& [sums, to] : {std::pair(gains, &c.out[1]), std::pair(biases, &c.out[2])}) {
      for (int64_t j = 0; j < n; ++j) gain[j] = static_cast<Wide>(sums[j]);
      StoreLine<T>(gain, *to, 0, LineOf(*to).stride, n);
    }
  });
}

}  // namespace

const Kernel kLayerNormKernel = {Action{"layer_norm"}, LayerNorm,
                                 [](const KernelCall& c) { return LineBytes(c, 3); }};
const Kernel kLayerNormGradKernel = {Action{"layer_norm_grad"}, LayerNormGrad,
                                     [](const KernelCall& c) { return LineBytes(c, 5); }};

}  // namespace tp::cpu
