#include "backends/nccl/element.cuh"
#include "backends/nccl/kernels.h"
#include "backends/nccl/launch_kernel.cuh"

namespace tp::nccl {
namespace {

constexpr int64_t kMostBlocks = 132 * 16;

// out = f(a, b), element by element; b is not read where it has no data.
template <typename T, int kVector, typename F>
__global__ void __launch_bounds__(kThreads) MapKernel(Grid grid, F f) {
  AwaitEarlierKernels();
  ForEachVector<kVector>(grid.outer, grid.inner, [&](int64_t outer, int64_t inner) {
    Accumulator<T> a[kVector], b[kVector] = {};
    LoadLane<T, kVector>(grid.lanes[0], outer, inner, a);
    if (grid.lanes[1].data != nullptr) LoadLane<T, kVector>(grid.lanes[1], outer, inner, b);
#pragma unroll
    for (int k = 0; k < kVector; ++k) a[k] = f(a[k], b[k]);
    StoreLane<T, kVector>(grid.lanes[2], outer, inner, a);
  });
}

template <typename T, typename F>
cudaError_t LaunchMap(const Grid& grid, cudaStream_t stream, const F& f) {
  constexpr int kVector = 16 / sizeof(T);
  const int64_t elements = grid.outer * grid.inner;
  if (elements == 0) return cudaSuccess;
  if (grid.vectorised) {
    const unsigned blocks = BlocksFor(elements / kVector, kMostBlocks);
    return LaunchKernel(MapKernel<T, kVector, F>, blocks, kThreads, stream, grid, f);
  }
  return LaunchKernel(MapKernel<T, 1, F>, BlocksFor(elements, kMostBlocks), kThreads, stream, grid,
                      f);
}

struct Sum {
  template <typename A>
  __device__ A operator()(A a, A b) const {
    return a + b;
  }
};
struct First {
  template <typename A>
  __device__ A operator()(A a, A) const {
    return a;
  }
};
struct Nothing {
  template <typename A>
  __device__ A operator()(A, A) const {
    return A(0);
  }
};
struct ScaledDifference {
  double factor;
  template <typename A>
  __device__ A operator()(A a, A b) const {
    return static_cast<A>(factor * (static_cast<double>(a) - static_cast<double>(b)));
  }
};
template <typename A>
struct Descend {
  A rate;
  __device__ float operator()(float w, float gradient) const {
    return __fsub_rn(w, __fmul_rn(rate, gradient));
  }
  __device__ double operator()(double w, double gradient) const {
    return __dsub_rn(w, __dmul_rn(rate, gradient));
  }
};

// The bias as a matrix of y's shape, the same in each row.
DeviceMatrix OnEachRow(const DeviceMatrix& bias, int64_t rows) {
  DeviceMatrix m = bias;
  m.rows = rows;
  m.row_stride = 0;
  return m;
}

Grid WithoutSecond(const DeviceMatrix& in, const DeviceMatrix& out) {
  Grid grid = MakeGrid({in, out});
  grid.lanes[2] = grid.lanes[1];
  grid.lanes[1] = {};
  return grid;
}

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

__device__ inline uint32_t Mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return static_cast<uint32_t>(x >> 32);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) NoiseKernel(T* data, int64_t count) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    const float value = static_cast<float>(static_cast<int32_t>(Mix(i + 1))) * 0x1p-31f;
    data[i] = Round<T>(value);
  }
}

}  // namespace

cudaError_t Add(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& out,
                cudaStream_t stream) {
  const Grid grid = MakeGrid({a, b, out});
  return Dispatch(out.dtype,
                  [&](auto type) { return LaunchMap<decltype(type)>(grid, stream, Sum{}); });
}

cudaError_t AddBias(const DeviceMatrix& y, const DeviceMatrix& bias, const DeviceMatrix& out,
                    cudaStream_t stream) {
  const Grid grid = MakeGrid({y, OnEachRow(bias, out.rows), out});
  return Dispatch(out.dtype,
                  [&](auto type) { return LaunchMap<decltype(type)>(grid, stream, Sum{}); });
}

cudaError_t BroadcastBias(const DeviceMatrix& bias, const DeviceMatrix& out, cudaStream_t stream) {
  const Grid grid = WithoutSecond(OnEachRow(bias, out.rows), out);
  return Dispatch(out.dtype,
                  [&](auto type) { return LaunchMap<decltype(type)>(grid, stream, First{}); });
}

cudaError_t Zero(const DeviceMatrix& out, cudaStream_t stream) {
  const Grid grid = WithoutSecond(out, out);
  return Dispatch(out.dtype,
                  [&](auto type) { return LaunchMap<decltype(type)>(grid, stream, Nothing{}); });
}

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

cudaError_t MseGrad(const DeviceMatrix& y, const DeviceMatrix& t, double scale,
                    const DeviceMatrix& dy, cudaStream_t stream) {
  const Grid grid = MakeGrid({y, t, dy});
  return Dispatch(dy.dtype, [&](auto type) {
    return LaunchMap<decltype(type)>(grid, stream, ScaledDifference{2 * scale});
  });
}

cudaError_t Sgd(const DeviceMatrix& w, const DeviceMatrix& gradient, double scale,
                cudaStream_t stream) {
  const Grid grid = MakeGrid({w, gradient, w});
  return Dispatch(w.dtype, [&](auto type) {
    using A = Accumulator<decltype(type)>;
    return LaunchMap<decltype(type)>(grid, stream, Descend<A>{static_cast<A>(scale)});
  });
}

cudaError_t FillNoise(void* data, DType dtype, int64_t count, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    NoiseKernel<<<BlocksFor(count, kMostBlocks), kThreads, 0, stream>>>(static_cast<T*>(data),
                                                                        count);
    return cudaGetLastError();
  });
}

}  // namespace tp::nccl
