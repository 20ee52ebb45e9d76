#include "backends/cpu/element.h"
#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/rows.h"

namespace tp::cpu {

void Sgd(DType dtype, double rate, const Tensor& w, const Tensor& gradient) {
  VisitElement(dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const auto wide_rate = static_cast<Wide>(rate);
    ForEachRow<T>(
        [&](int64_t n, auto w_row, auto g_row) {
          for (int64_t j = 0; j < n; ++j) {
            w_row[j] = Element<T>::Narrow(Element<T>::Widen(w_row[j]) -
                                          wide_rate * Element<T>::Widen(g_row[j]));
          }
        },
        w, gradient);
  });
}

const Kernel kSgdKernel = {Action{"sgd"}, [](const KernelCall& c) {
                             Sgd(c.dtype, c.op.attributes.Number("rate"), c.in[0], c.in[1]);
                           }};

}  // namespace tp::cpu
