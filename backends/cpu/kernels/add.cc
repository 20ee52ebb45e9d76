#include "backends/cpu/element.h"
#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/rows.h"

namespace tp::cpu {

void Add(DType dtype, const Tensor& a, const Tensor& b, const Tensor& out) {
  VisitElement(dtype, [&]<typename T>(T) {
    ForEachRow<T>(
        [](int64_t n, auto a_row, auto b_row, auto out_row) {
          for (int64_t j = 0; j < n; ++j) {
            out_row[j] =
                Element<T>::Narrow(Element<T>::Widen(a_row[j]) + Element<T>::Widen(b_row[j]));
          }
        },
        a, b, out);
  });
}

const Kernel kAddKernel = {Action{"add"},
                           [](const KernelCall& c) { Add(c.dtype, c.in[0], c.in[1], c.out[0]); }};

}  // namespace tp::cpu
