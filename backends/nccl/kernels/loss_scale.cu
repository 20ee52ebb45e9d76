#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

struct State {
  void* in[5];  // the scale, its inverse, steps, squares, what clips
  void* out[4];
};

template <typename T>
__global__ void LossScaleKernel(State state, Accumulator<T> interval) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  const auto in = [&](int i) { return Widen(*static_cast<const T*>(state.in[i])); };
  const A scale = in(0), inverse = in(1), squares = in(3);
  const bool finite = isfinite(squares);
  const A steps = finite ? in(2) + A(1) : A(0);
  const bool grows = steps >= interval;
  A factor = grows ? A(2) : A(1);
  if (!finite && scale > A(1)) factor = A(0.5);
  const A clipped = finite ? in(4) * inverse : A(0);
  const A next[4] = {scale * factor, inverse / factor, grows ? A(0) : steps, clipped};
  for (int i = 0; i < 4; ++i) *static_cast<T*>(state.out[i]) = Round<T>(next[i]);
}

}  // namespace

const Kernel kLossScaleKernel = {
    Action{"loss_scale"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.in[0].dtype, [&](auto type) {
        using T = decltype(type);
        State state;
        for (int i = 0; i < 5; ++i) state.in[i] = c.in[i].data;
        for (int i = 0; i < 4; ++i) state.out[i] = c.out[i].data;
        const auto interval = static_cast<Accumulator<T>>(c.op.attributes.Number("interval"));
        return LaunchKernel(LossScaleKernel<T>, 1, 1, stream, state, interval);
      });
    }};

}  // namespace tp::nccl
