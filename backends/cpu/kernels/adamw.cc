#include <algorithm>
#include <cmath>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// What is the same for all elements.
template <typename Wide>
struct Step {
  // Scalars are the inputs from `first` on.
  Step(const KernelCall& c, size_t first)
      : beta_moment(c.op.attributes.Number("beta_moment")),
        beta_square(c.op.attributes.Number("beta_square")),
        rest_moment(static_cast<Wide>(1 - c.op.attributes.Number("beta_moment"))),
        rest_square(static_cast<Wide>(1 - c.op.attributes.Number("beta_square"))),
        eps(c.op.attributes.Number("eps")),
        decay(c.op.attributes.Number("decay")),
        rate(*static_cast<const Wide*>(c.in[first].data)),
        a(*static_cast<const Wide*>(c.in[first + 1].data)),
        b(*static_cast<const Wide*>(c.in[first + 2].data)),
        factor(*static_cast<const Wide*>(c.in[first + 3].data)) {}

  // The new w; m and v in place.
  Wide Take(Wide w, Wide gradient, Wide& m, Wide& v) const {
    const Wide g = factor * gradient;
    m = beta_moment * m + rest_moment * g;
    v = beta_square * v + rest_square * (g * g);
    return w - rate * (a * m / (std::sqrt(b * v) + eps) + decay * w);
  }

  Wide beta_moment, beta_square, rest_moment, rest_square, eps, decay, rate, a, b, factor;
};

// Calls f(i, element) for tensors of one shape; element(t, i) is in tensor t of type T.
template <typename F, size_t kTensors>
void ForEachLine(const KernelCall& c, const std::array<const Tensor*, kTensors>& tensors,
                 const F& f) {
  if (c.in[0].empty()) return;
  const Lines<kTensors> lines(tensors);
  const bool packed = std::all_of(lines.strides.begin(), lines.strides.end(),
                                  [](int64_t stride) { return stride == 1; });
  lines.ForEach([&](const auto& at) {
    if (packed) {
      f(lines.length, [&]<typename T>(size_t t, T) {
        return PackedRow<T>{static_cast<T*>(tensors[t]->data) + at[t]};
      });
    } else {
      f(lines.length, [&]<typename T>(size_t t, T) {
        return Row<T>{static_cast<T*>(tensors[t]->data) + at[t], lines.strides[t]};
      });
    }
  });
}

void Adamw(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const Step<Wide> step(c, 4);
    ForEachLine<>(c, std::array{&c.in[0], &c.in[1], &c.in[2], &c.in[3]},
                  [&](int64_t n, const auto& row) {
                    const auto w = row(0, T{}), g = row(3, T{});
                    const auto m = row(1, Wide{}), v = row(2, Wide{});
                    for (int64_t j = 0; j < n; ++j) {
                      w[j] = Element<T>::Narrow(
                          step.Take(Element<T>::Widen(w[j]), Element<T>::Widen(g[j]), m[j], v[j]));
                    }
                  });
  });
}

void AdamwMaster(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const Step<Wide> step(c, 5);
    ForEachLine<>(c, std::array{&c.in[0], &c.in[1], &c.in[2], &c.in[3], &c.in[4]},
                  [&](int64_t n, const auto& row) {
                    const auto copy = row(0, T{}), g = row(4, T{});
                    const auto w = row(1, Wide{}), m = row(2, Wide{}), v = row(3, Wide{});
                    for (int64_t j = 0; j < n; ++j) {
                      w[j] = step.Take(w[j], Element<T>::Widen(g[j]), m[j], v[j]);
                      copy[j] = Element<T>::Narrow(w[j]);
                    }
                  });
  });
}

void ClipFactor(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const auto most = static_cast<Wide>(c.op.attributes.Number("max"));
    const Wide norm = std::sqrt(Element<T>::Widen(*static_cast<const T*>(c.in[0].data)));
    // What is no number stays none.
    *static_cast<T*>(c.out[0].data) = Element<T>::Narrow(most / (norm <= most ? most : norm));
  });
}

}  // namespace

const Kernel kAdamwKernel = {Action{"adamw"}, Adamw};
const Kernel kAdamwMasterKernel = {Action{"adamw_master"}, AdamwMaster};
const Kernel kClipFactorKernel = {Action{"clip_factor"}, ClipFactor};

}  // namespace tp::cpu
