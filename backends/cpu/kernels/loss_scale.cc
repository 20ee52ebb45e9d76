#include <cmath>

#include "backends/cpu/element.h"
#include "backends/cpu/kernels/all.h"

namespace tp::cpu {

const Kernel kLossScaleKernel = {
    Action{"loss_scale"}, [](const KernelCall& c) {
      VisitElement(c.dtype, [&]<typename T>(T) {
        using Wide = typename Element<T>::Wide;
        const auto in = [&](size_t i) {
          return Element<T>::Widen(*static_cast<const T*>(c.in[i].data));
        };
        const Wide scale = in(0), inverse = in(1), squares = in(3);
        const Wide steps = std::isfinite(squares) ? in(2) + 1 : 0;
        const bool grows = steps >= static_cast<Wide>(c.op.attributes.Number("interval"));
        Wide factor = grows ? 2 : 1;
        if (!std::isfinite(squares) && scale > 1) factor = static_cast<Wide>(0.5);
        const Wide clipped = std::isfinite(squares) ? in(4) * inverse : 0;
        const Wide next[] = {scale * factor, inverse / factor, grows ? 0 : steps, clipped};
        for (size_t i = 0; i < 4; ++i) {
          *static_cast<T*>(c.out[i].data) = Element<T>::Narrow(next[i]);
        }
      });
    }};

}  // namespace tp::cpu
