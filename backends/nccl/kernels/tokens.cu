// What is the same for each token, or each place of a sequence: added to all of them, and summed.
#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/sum_places.h"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

struct AddNumbers {
  template <typename A>
  __device__ void operator()(const A (&x)[2], A (&y)[1]) const {
    y[0] = x[0] + x[1];
  }
};
struct Nought {
  template <typename A>
  __device__ void operator()(const A (&)[1], A (&y)[1]) const {
    y[0] = 0;
  }
};

cudaError_t AddAll(const DeviceView& x, const DeviceView& y, const DeviceView& out,
                   cudaStream_t stream) {
  return Dispatch(out.dtype, [&](auto type) {
    return LaunchWalk<2, 1, decltype(type)>({x, y, out}, stream, AddNumbers{});
  });
}

cudaError_t Clear(const DeviceView& out, cudaStream_t stream) {
  return Dispatch(out.dtype, [&](auto type) {
    return LaunchWalk<1, 1, decltype(type)>({out, out}, stream, Nought{});
  });
}

// Indices [begin, begin + length) of dimension d.
DeviceView Part(DeviceView view, int d, int64_t begin, int64_t length) {
  view.dims[d].size = length;
  if (!view.empty()) {
    view.data = static_cast<char*>(view.data) + begin * view.dims[d].stride * SizeOf(view.dtype);
  }
  return view;
}

// A view of so many dimensions more, outermost, along which it is the same everywhere.
DeviceView Repeated(const DeviceView& view, const Dims& like, int dims) {
  DeviceView repeated{view.data, view.dtype};
  for (int d = 0; d < dims; ++d) repeated.dims.push_back({like[d].size, 0});
  for (const Dim& dim : view.dims) repeated.dims.push_back(dim);
  return repeated;
}

// The places of this rank's part of a sequence that a table of `rows` rows has.
struct Known {
  int64_t begin, count;
};
Known KnownPlaces(const KernelCall& c, int64_t places, int64_t rows) {
  const int64_t begin = c.op.PartOf('s').begin;
  return {begin, std::clamp<int64_t>(rows - begin, 0, places)};
}

cudaError_t AddPositions(const KernelCall& c, cudaStream_t stream) {
  const DeviceView &x = c.in[0], &table = c.in[1], &out = c.out[0];
  const int64_t places = x.dims[1].size;
  const Known known = KnownPlaces(c, places, table.dims[0].size);
  const DeviceView rows = Repeated(Part(table, 0, known.begin, known.count), x.dims, 1);
  const cudaError_t error =
      AddAll(Part(x, 1, 0, known.count), rows, Part(out, 1, 0, known.count), stream);
  if (error != cudaSuccess) return error;
  const int64_t rest = places - known.count;
  return Copy(Part(x, 1, known.count, rest), Part(out, 1, known.count, rest), stream);
}

cudaError_t AddPositionsGrad(const KernelCall& c, cudaStream_t stream) {
  const DeviceView &dy = c.in[0], &out = c.out[0];
  const Known known = KnownPlaces(c, dy.dims[1].size, out.dims[0].size);
  const cudaError_t error = Clear(out, stream);
  if (error != cudaSuccess) return error;
  return SumPlaces(Part(dy, 1, 0, known.count), 1, Part(out, 0, known.begin, known.count),
                   c.scratch, stream);
}

}  // namespace

const Kernel kAddToTokensKernel = {
    Action{"add_to_tokens"}, [](const KernelCall& c, cudaStream_t stream) {
      return AddAll(c.in[0], Repeated(c.in[1], c.in[0].dims, 2), c.out[0], stream);
    }};
const Kernel kSumTokensKernel = {Action{"sum_tokens"},
                                 [](const KernelCall& c, cudaStream_t stream) {
                                   return SumPlaces(c.in[0], 2, c.out[0], c.scratch, stream);
                                 },
                                 [](const KernelCall& c) { return SumPlacesScratch(c.in[0], 2); }};
const Kernel kAddPositionsKernel = {Action{"add_positions"}, AddPositions};
const Kernel kAddPositionsGradKernel = {
    Action{"add_positions_grad"}, AddPositionsGrad,
    [](const KernelCall& c) { return SumPlacesScratch(c.in[0], 1); }};

}  // namespace tp::nccl
