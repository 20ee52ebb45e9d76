#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// What is the same for all elements.
template <typename Wide>
class Step {
 public:
  // Scalars are the inputs from `first` on.
  Step(const KernelCall& c, size_t first)
      : beta_moment_(Number(c, "beta_moment")),
        beta_square_(Number(c, "beta_square")),
        rest_moment_(static_cast<Wide>(1 - c.op.attributes.Number("beta_moment"))),
        rest_square_(static_cast<Wide>(1 - c.op.attributes.Number("beta_square"))),
        eps_(Number(c, "eps")),
        decay_(Number(c, "decay")),
        rate_(Scalar(c, first)),
        a_(Scalar(c, first + 1)),
        b_(Scalar(c, first + 2)),
        factor_(Scalar(c, first + 3)) {}

  bool skips() const { return factor_ == 0; }

  // `n` elements of w, m and v in place.
  void Take(int64_t n, Wide* w, Wide* m, Wide* v, const Wide* gradient) const {
    const Step s = *this;  // which no store can change, so that the loop is vectorised
    for (int64_t j = 0; j < n; ++j) {
      const Wide g = s.factor_ * gradient[j];
      m[j] = s.beta_moment_ * m[j] + s.rest_moment_ * g;
      v[j] = s.beta_square_ * v[j] + s.rest_square_ * (g * g);
      w[j] -= s.rate_ * (s.a_ * m[j] / (std::sqrt(s.b_ * v[j]) + s.eps_) + s.decay_ * w[j]);
    }
  }

 private:
  static Wide Number(const KernelCall& c, const char* name) {
    return static_cast<Wide>(c.op.attributes.Number(name));
  }
  static Wide Scalar(const KernelCall& c, size_t i) {
    return *static_cast<const Wide*>(c.in[i].data);
  }

  Wide beta_moment_, beta_square_, rest_moment_, rest_square_, eps_, decay_;
  Wide rate_, a_, b_, factor_;
};

// `tensors`: the parameter of type T first, the gradient last; between them w, where that is not
// the parameter, m and v, in the accumulator's type.
template <typename T, size_t kTensors>
void Update(const KernelCall& c, const std::array<const Tensor*, kTensors>& tensors) {
  using Wide = typename Element<T>::Wide;
  if (c.in[0].empty()) return;
  const Step<Wide> step(c, kTensors);
  if (step.skips()) return;
  const Lines<kTensors> lines(tensors);
  alignas(64) Wide memory[kTensors][kBlock];
  lines.ForEach([&](const auto& at) {
    for (int64_t begin = 0; begin < lines.length; begin += kBlock) {
      const int64_t n = std::min(kBlock, lines.length - begin);
      const auto place = [&](size_t t) { return at[t] + begin * lines.strides[t]; };
      for (size_t t = 0; t < kTensors; ++t) {
        if (t == 0 || t + 1 == kTensors) {
          LoadLine<T>(*tensors[t], place(t), lines.strides[t], n, memory[t]);
        } else {
          LoadLine<Wide>(*tensors[t], place(t), lines.strides[t], n, memory[t]);
        }
      }
      Wide* const w = memory[kTensors - 4];
      step.Take(n, w, memory[kTensors - 3], memory[kTensors - 2], memory[kTensors - 1]);
      StoreLine<T>(w, *tensors[0], place(0), lines.strides[0], n);
      for (size_t t = 1; t + 1 < kTensors; ++t) {
        StoreLine<Wide>(memory[t], *tensors[t], place(t), lines.strides[t], n);
      }
    }
  });
}

void Adamw(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    Update<T>(c, std::array{&c.in[0], &c.in[1], &c.in[2], &c.in[3]});
  });
}

void AdamwMaster(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    Update<T>(c, std::array{&c.in[0], &c.in[1], &c.in[2], &c.in[3], &c.in[4]});
  });
}

void ClipFactor(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const auto most = static_cast<Wide>(c.op.attributes.Number("max"));
    const Wide norm = std::sqrt(Element<T>::Widen(*static_cast<const T*>(c.in[0].data)));
    const Wide factor = most / std::max(norm, most);
    constexpr Wide kNone = std::numeric_limits<Wide>::quiet_NaN();
    *static_cast<T*>(c.out[0].data) = Element<T>::Narrow(std::isfinite(norm) ? factor : kNone);
  });
}

}  // namespace

const Kernel kAdamwKernel = {Action{"adamw"}, Adamw};
const Kernel kAdamwMasterKernel = {Action{"adamw_master"}, AdamwMaster};
const Kernel kClipFactorKernel = {Action{"clip_factor"}, ClipFactor};

}  // namespace tp::cpu
