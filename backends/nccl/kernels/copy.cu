#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/map.cuh"
#include "backends/nccl/kernels/walk.cuh"

namespace tp::nccl {
namespace {

constexpr int kLanes = 32;  // threads along a line of a tile
constexpr int kLines = 8;   // and across

// Elements of a tile's side: of 16 bits, more, so that as many bytes are under way.
template <typename Bits>
constexpr int kTile = sizeof(Bits) == 2 ? 64 : 32;

// Copies between matrices that run in different directions, a tile at a time, so that both are
// read and written along the direction in which they lie. `in` runs along columns.
template <typename Bits>
__global__ void __launch_bounds__(kLanes* kLines)
    TransposeKernel(DeviceMatrix in, DeviceMatrix out, int64_t tiles_across, int64_t tiles) {
  AwaitEarlierKernels();
  constexpr int kSide = kTile<Bits>;
  constexpr int kPad = sizeof(Bits) == 2 ? 2 : 1;  // to the next bank
  __shared__ Bits tile[kSide][kSide + kPad];
  const auto* from = static_cast<const Bits*>(in.data);
  auto* to = static_cast<Bits*>(out.data);
  for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int64_t row = t / tiles_across * kSide;
    const int64_t column = t % tiles_across * kSide;
#pragma unroll
    for (int r = 0; r < kSide; r += kLines) {
#pragma unroll
      for (int c = 0; c < kSide; c += kLanes) {
        const int64_t i = row + r + threadIdx.y, j = column + c + threadIdx.x;
        if (i < in.rows && j < in.columns) {
          tile[r + threadIdx.y][c + threadIdx.x] =
              __ldg(&from[i * in.row_stride + j * in.column_stride]);
        }
      }
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kSide; r += kLines) {
#pragma unroll
      for (int c = 0; c < kSide; c += kLanes) {
        const int64_t i = row + c + threadIdx.x, j = column + r + threadIdx.y;
        if (i < in.rows && j < in.columns) {
          to[i * out.row_stride + j * out.column_stride] = tile[c + threadIdx.x][r + threadIdx.y];
        }
      }
    }
    __syncthreads();
  }
}

template <typename Bits>
cudaError_t LaunchTranspose(const DeviceMatrix& in, const DeviceMatrix& out, cudaStream_t stream) {
  constexpr int kSide = kTile<Bits>;
  const int64_t across = (in.columns + kSide - 1) / kSide;
  const int64_t tiles = (in.rows + kSide - 1) / kSide * across;
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(tiles, kMostBlocks));
  return LaunchKernel(TransposeKernel<Bits>, blocks, dim3(kLanes, kLines), stream, in, out, across,
                      tiles);
}

struct AsItIs {
  template <typename A>
  __device__ void operator()(const A (&x)[1], A (&y)[1]) const {
    y[0] = x[0];
  }
};

}  // namespace

cudaError_t Copy(const DeviceMatrix& in, const DeviceMatrix& out, cudaStream_t stream) {
  if (out.empty()) return cudaSuccess;
  const bool across = in.rows > 1 && in.columns > 1;
  if (across && RunsDownRows(in) != RunsDownRows(out)) {
    const DeviceMatrix from = RunsDownRows(in) ? in.Transposed() : in;
    const DeviceMatrix to = RunsDownRows(in) ? out.Transposed() : out;
    switch (SizeOf(in.dtype)) {
      case 8:
        return LaunchTranspose<unsigned long long>(from, to, stream);
      case 4:
        return LaunchTranspose<unsigned>(from, to, stream);
      default:
        return LaunchTranspose<unsigned short>(from, to, stream);
    }
  }
  const Grid grid = WithoutSecond(in, out);
  return Dispatch(out.dtype,
                  [&](auto type) { return LaunchMap<decltype(type)>(grid, stream, First{}); });
}

cudaError_t Copy(const DeviceView& in, const DeviceView& out, cudaStream_t stream) {
  const auto [from, to] = Merged<2>({in, out});
  if (to.size() <= 2) {
    return Copy(DeviceView{in.data, in.dtype, from}.matrix(),
                DeviceView{out.data, out.dtype, to}.matrix(), stream);
  }
  return Dispatch(out.dtype, [&](auto type) {
    return LaunchWalk<1, 1, decltype(type)>({in, out}, stream, AsItIs{});
  });
}

const Kernel kCopyKernel = {Action::kCopy, [](const KernelCall& c, cudaStream_t stream) {
                              return Copy(c.in[0], c.out[0], stream);
                            }};

}  // namespace tp::nccl
