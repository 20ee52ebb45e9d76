#include <type_traits>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {

const Kernel kScaleKernel = {Action{"scale"}, [](const KernelCall& c) {
                               ForEachBlock<1, 1>(
                                   c.dtype, {c.in[0]}, {c.out[0]}, [&c](const auto& in, auto& out) {
                                     using Wide = typename std::decay_t<decltype(out[0])>::Scalar;
                                     out[0] = in[0] * *static_cast<const Wide*>(c.in[1].data);
                                   });
                             }};

}  // namespace tp::cpu
