#include "backends/cpu/element.h"
#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/rows.h"

namespace tp::cpu {

const Kernel kSquareSumKernel = {Action{"square_sum"}, [](const KernelCall& c) {
                                   VisitElement(c.dtype, [&]<typename T>(T) {
                                     using Wide = typename Element<T>::Wide;
                                     double total = 0;
                                     ForEachRow<T>(
                                         [&](int64_t n, auto row) {
                                           LaneSum sum;
                                           sum.Add(n, [&](int64_t j) {
                                             const double x = Element<T>::Widen(row[j]);
                                             return x * x;
                                           });
                                           total += sum.Total();
                                         },
                                         c.in[0]);
                                     *static_cast<Wide*>(c.out[0].data) = static_cast<Wide>(total);
                                   });
                                 }};

}  // namespace tp::cpu
