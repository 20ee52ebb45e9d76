#include "backends/cpu/element.h"
#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/rows.h"

namespace tp::cpu {

void AddBias(DType dtype, const Matrix& y, const Matrix& b, const Matrix& out) {
  VisitElement(dtype, [&]<typename T>(T) {
    Matrix every_row = b;  // the one row of b, under each row of y
    every_row.rows = y.rows;
    every_row.row_stride = 0;
    ForEachRow<T>(
        [](int64_t n, auto y_row, auto b_row, auto out_row) {
          for (int64_t j = 0; j < n; ++j) {
            out_row[j] =
                Element<T>::Narrow(Element<T>::Widen(y_row[j]) + Element<T>::Widen(b_row[j]));
          }
        },
        y, every_row, out);
  });
}

const Kernel kAddBiasKernel = {Action{"add_bias"}, [](const KernelCall& c) {
                                 AddBias(c.dtype, c.in[0].matrix(), c.in[1].matrix(),
                                         c.out[0].matrix());
                               }};

}  // namespace tp::cpu
