#include "backends/cpu/element.h"
#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/rows.h"

namespace tp::cpu {
namespace {

// out = value where x > 0, else 0; bits are moved.
void WherePositive(DType dtype, const Tensor& x, const Tensor& value, const Tensor& out) {
  VisitElement(dtype, [&]<typename T>(T) {
    ForEachRow<T>(
        [](int64_t n, auto x_row, auto value_row, auto out_row) {
          for (int64_t j = 0; j < n; ++j) {
            out_row[j] = Element<T>::Widen(x_row[j]) > 0 ? value_row[j] : T{};
          }
        },
        x, value, out);
  });
}

}  // namespace

const Kernel kReluKernel = {Action{"relu"}, [](const KernelCall& c) {
                              WherePositive(c.dtype, c.in[0], c.in[0], c.out[0]);
                            }};
const Kernel kReluGradKernel = {Action{"relu_grad"}, [](const KernelCall& c) {
                                  WherePositive(c.dtype, c.in[0], c.in[1], c.out[0]);
                                }};

}  // namespace tp::cpu
