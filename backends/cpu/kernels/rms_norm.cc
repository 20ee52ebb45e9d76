#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// The line of a tensor's last dimension.
int64_t SizeOfLine(const Tensor& x) { return x.dims[x.dims.size() - 1].size; }
int64_t StrideOfLine(const Tensor& x) { return x.dims[x.dims.size() - 1].stride; }

// Scratch: so many lines in double, which have room for any type.
int64_t LineBytes(const KernelCall& c, int64_t count) { return count * SizeOfLine(c.in[0]) * 8; }

void RmsNorm(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const Tensor &x = c.in[0], &gain = c.in[1], &y = c.out[0], &inverse = c.out[1];
    const int rows = x.dims.size() - 1;
    const int64_t n = SizeOfLine(x);
    Wide* const wide_gain = reinterpret_cast<Wide*>(c.scratch);
    Wide* const line = wide_gain + n;
    LoadLine<T>(gain, 0, StrideOfLine(gain), n, wide_gain);
    ForEachIndex(x, rows, [&](const Index& index) {
      LoadLine<T>(x, LineAt(x, index, rows), StrideOfLine(x), n, line);
      LaneSum squares;
      squares.Add(n, [&](int64_t j) { return static_cast<double>(line[j]) * line[j]; });
      Wide r = static_cast<Wide>(squares.Total() / static_cast<double>(n) +
                                 c.op.attributes.Number("eps"));
      ApplyTo(Function::kRsqrt, &r, &r, 1);
      static_cast<Wide*>(inverse.data)[LineAt(inverse, index, rows)] = r;
      Numbers<Wide>(line, n) *= r * Numbers<Wide>(wide_gain, n);
      StoreLine<T>(line, y, LineAt(y, index, rows), StrideOfLine(y), n);
    });
  });
}

void RmsNormGrad(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const Tensor &x = c.in[0], &gain = c.in[1], &inverse = c.in[2], &dy = c.in[3];
    const Tensor &dx = c.out[0], &dgain = c.out[1];
    const int rows = x.dims.size() - 1;
    const int64_t n = SizeOfLine(x);
    auto* const sums = reinterpret_cast<double*>(c.scratch);  // of dgain
    Wide* const wide_gain = reinterpret_cast<Wide*>(sums + n);
    Wide* const x_line = wide_gain + n;
    Wide* const dy_line = x_line + n;
    std::fill_n(sums, n, 0.0);
    LoadLine<T>(gain, 0, StrideOfLine(gain), n, wide_gain);
    ForEachIndex(x, rows, [&](const Index& index) {
      LoadLine<T>(x, LineAt(x, index, rows), StrideOfLine(x), n, x_line);
      LoadLine<T>(dy, LineAt(dy, index, rows), StrideOfLine(dy), n, dy_line);
      const Wide r = static_cast<const Wide*>(inverse.data)[LineAt(inverse, index, rows)];
      LaneSum sum;
      sum.Add(
          n, [&](int64_t j) { return static_cast<double>(dy_line[j]) * wide_gain[j] * x_line[j]; });
      for (int64_t j = 0; j < n; ++j) sums[j] += static_cast<double>(dy_line[j]) * x_line[j] * r;
      const auto along =
          static_cast<Wide>(sum.Total() / static_cast<double>(n) * (static_cast<double>(r) * r));
      Numbers<Wide> result(dy_line, n);
      result = r * (result * Numbers<Wide>(wide_gain, n) - Numbers<Wide>(x_line, n) * along);
      StoreLine<T>(dy_line, dx, LineAt(dx, index, rows), StrideOfLine(dx), n);
    });
    for (int64_t j = 0; j < n; ++j) wide_gain[j] = static_cast<Wide>(sums[j]);
    StoreLine<T>(wide_gain, dgain, 0, StrideOfLine(dgain), n);
  });
}

}  // namespace

const Kernel kRmsNormKernel = {Action{"rms_norm"}, RmsNorm,
                               [](const KernelCall& c) { return LineBytes(c, 2); }};
const Kernel kRmsNormGradKernel = {Action{"rms_norm_grad"}, RmsNormGrad,
                                   [](const KernelCall& c) { return LineBytes(c, 4); }};

}  // namespace tp::cpu
