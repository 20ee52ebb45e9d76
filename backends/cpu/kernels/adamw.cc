#include <cmath>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// Two tensors of one shape, the first of type T, the second of its accumulator: calls f(element of
// the first, element of the second).
template <typename F>
void ForEachPair(const KernelCall& c, const F& f) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    if (c.in[0].empty()) return;
    const Lines<2> lines({&c.in[0], &c.in[1]});
    lines.ForEach([&](const auto& at) {
      T* const a = static_cast<T*>(c.in[0].data) + at[0];
      Wide* const b = static_cast<Wide*>(c.in[1].data) + at[1];
      for (int64_t j = 0; j < lines.length; ++j) {
        f(a[j * lines.strides[0]], b[j * lines.strides[1]]);
      }
    });
  });
}

// m = beta m + (1 - beta) term(g)
template <typename Term>
void Average(const KernelCall& c, const Term& term) {
  const double beta = c.op.attributes.Number("beta");
  ForEachPair(c, [&]<typename T, typename Wide>(T& g, Wide& m) {
    m = static_cast<Wide>(beta) * m + static_cast<Wide>(1 - beta) * term(Element<T>::Widen(g));
  });
}

void Moment(const KernelCall& c) {
  Average(c, [](auto g) { return g; });
}

void Square(const KernelCall& c) {
  Average(c, [](auto g) { return g * g; });
}

void Step(const KernelCall& c) {
  ForEachBlock<3, 1>(
      c.dtype, {c.in[0], c.in[1], c.in[2]}, {c.out[0]}, [&](const auto& in, auto& out) {
        using Wide = std::remove_cvref_t<decltype(out[0][0])>;
        const auto scalar = [&](size_t i) { return ScalarOf<Wide>(c.dtype, c.in[i]); };
        const auto number = [&](const char* name) {
          return static_cast<Wide>(c.op.attributes.Number(name));
        };
        out[0] = in[2] * scalar(5);
        ApplyTo(Function::kSqrt, out[0].data(), out[0].data(), out[0].size());
        out[0] = in[1] * scalar(4) / (out[0] + number("eps"));
        out[0] = in[0] - scalar(3) * (out[0] + number("decay") * in[0]);
      });
}

void Store(const KernelCall& c) {
  ForEachPair(c, []<typename T, typename Wide>(T& w, const Wide& master) {
    w = Element<T>::Narrow(master);
  });
}

}  // namespace

const Kernel kAdamMomentKernel = {Action{"adam_moment"}, Moment};
const Kernel kAdamSquareKernel = {Action{"adam_square"}, Square};
const Kernel kAdamwStepKernel = {Action{"adamw_step"}, Step};
const Kernel kAdamwStoreKernel = {Action{"adamw_store"}, Store};

}  // namespace tp::cpu
