#include "backends/cpu/element.h"
#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/rows.h"

namespace tp::cpu {

void Copy(DType dtype, const Tensor& in, const Tensor& out) {
  // Integers are moved as what has their size.
  const DType moved = dtype == DType::kInt32 ? DType::kFloat32 : dtype;
  VisitElement(moved, [&]<typename T>(T) {
    ForEachRow<T>(
        [](int64_t n, auto in_row, auto out_row) {
          for (int64_t j = 0; j < n; ++j) out_row[j] = in_row[j];
        },
        in, out);
  });
}

const Kernel kCopyKernel = {Action::kCopy,
                            [](const KernelCall& c) { Copy(c.dtype, c.in[0], c.out[0]); }};

}  // namespace tp::cpu
