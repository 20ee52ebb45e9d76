#include <cstdint>

#include "backends/nccl/kernels/launch_kernel.cuh"
#include "backends/nccl/kernels/thin_gemm.h"

namespace tp::nccl {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kColumns = 4;  // of c, by block (few rows) or by thread (short sums)
constexpr int64_t kMostRows = 32;
constexpr int64_t kMostTerms = 32;
constexpr int kRowsOfBlock = 4;  // short sums

struct Matrix {
  float* data;
  int64_t rows, columns, row_stride, column_stride;

  explicit Matrix(const DeviceMatrix& m)
      : data(static_cast<float*>(m.data)),
        rows(m.rows),
        columns(m.columns),
        row_stride(m.row_stride),
        column_stride(m.column_stride) {}

  __device__ float& At(int64_t i, int64_t j) const {
    return data[i * row_stride + j * column_stride];
  }
};

// Sums v[0 .. 2 kHalf) over a warp: each lane is left with 2 kHalf / 32 of the sums, in v, those
// from `first` on.
template <int kHalf, int kOffset>
__device__ __forceinline__ void SumOverLanes(float* v, int lane, int& first) {
  const bool upper = (lane & kOffset) != 0;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float keep = upper ? v[i + kHalf] : v[i];
    const float send = upper ? v[i] : v[i + kHalf];
    v[i] = keep + __shfl_xor_sync(0xffffffffu, send, kOffset);
  }
  first += upper ? kHalf : 0;
  if constexpr (kOffset > 1) SumOverLanes<kHalf / 2, kOffset / 2>(v, lane, first);
}

// kDownwards: a's rows lie next to each other, in packs of four.
template <int kRows, bool kDownwards>
__global__ void __launch_bounds__(kThreads)
    FewRowsKernel(Matrix a, Matrix b, Matrix c, const float* bias, int64_t bias_stride) {
  AwaitEarlierKernels();
  constexpr int kSums = kRows * kColumns;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns;
  float sums[kSums] = {};
  for (int64_t k = threadIdx.x; k < a.columns; k += kThreads) {
    float from_b[kColumns], from_a[kRows];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      from_b[j] = column + j < b.columns ? b.At(k, column + j) : 0;
    }
    if constexpr (kDownwards) {
#pragma unroll
      for (int i = 0; i < kRows; i += 4) {
        const float4 pack = i < a.rows ? *reinterpret_cast<const float4*>(&a.At(i, k)) : float4{};
        from_a[i] = pack.x;
        from_a[i + 1] = pack.y;
        from_a[i + 2] = pack.z;
        from_a[i + 3] = pack.w;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kRows; ++i) from_a[i] = i < a.rows ? a.At(i, k) : 0;
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) sums[i * kColumns + j] += from_a[i] * from_b[j];
    }
  }
  __shared__ float of_warps[kWarps][kSums];
  const int lane = threadIdx.x % 32;
  int first = 0;
  SumOverLanes<kSums / 2, 16>(sums, lane, first);
#pragma unroll
  for (int i = 0; i < kSums / 32; ++i) of_warps[threadIdx.x / 32][first + i] = sums[i];
  __syncthreads();
  for (int i = threadIdx.x; i < kSums; i += kThreads) {
    const int64_t row = i / kColumns, at = column + i % kColumns;
    if (row >= c.rows || at >= c.columns) continue;
    float sum = bias != nullptr ? bias[at * bias_stride] : 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) sum += of_warps[warp][i];
    c.At(row, at) = sum;
  }
}

template <int kTerms>
__global__ void __launch_bounds__(kThreads) ShortSumKernel(Matrix a, Matrix b, Matrix c) {
  AwaitEarlierKernels();
  __shared__ float of_a[kRowsOfBlock][kTerms];
  const int64_t row = static_cast<int64_t>(blockIdx.y) * kRowsOfBlock;
  for (int i = threadIdx.x; i < kRowsOfBlock * kTerms; i += kThreads) {
    const int64_t r = row + i / kTerms, k = i % kTerms;
    of_a[i / kTerms][k] = r < a.rows && k < a.columns ? a.At(r, k) : 0;
  }
  __syncthreads();
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kColumns;
  if (column >= c.columns) return;
  float4 from_b[kTerms];
#pragma unroll
  for (int k = 0; k < kTerms; ++k) {
    from_b[k] =
        k < b.rows ? *reinterpret_cast<const float4*>(&b.At(k, column)) : float4{0, 0, 0, 0};
  }
#pragma unroll
  for (int r = 0; r < kRowsOfBlock; ++r) {
    if (row + r >= c.rows) return;
    float4 sum{0, 0, 0, 0};
#pragma unroll
    for (int k = 0; k < kTerms; ++k) {
      sum.x += of_a[r][k] * from_b[k].x;
      sum.y += of_a[r][k] * from_b[k].y;
      sum.z += of_a[r][k] * from_b[k].z;
      sum.w += of_a[r][k] * from_b[k].w;
    }
    *reinterpret_cast<float4*>(&c.At(row + r, column)) = sum;
  }
}

bool InPacks(const void* data, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % sizeof(float4) == 0 && stride % 4 == 0;
}

bool IsShortSum(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c,
                const std::optional<DeviceMatrix>& bias) {
  return a.columns <= kMostTerms && !bias && b.column_stride == 1 && c.column_stride == 1 &&
         c.columns % kColumns == 0 && InPacks(b.data, b.row_stride) &&
         InPacks(c.data, c.row_stride);
}

template <int kRows>
cudaError_t LaunchFewRows(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c,
                          const std::optional<DeviceMatrix>& bias, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((c.columns + kColumns - 1) / kColumns);
  const float* of_bias = bias ? static_cast<const float*>(bias->data) : nullptr;
  const int64_t stride = bias ? bias->column_stride : 0;
  if (a.row_stride == 1 && a.rows % 4 == 0 && InPacks(a.data, a.column_stride)) {
    return LaunchKernel(FewRowsKernel<kRows, true>, blocks, kThreads, stream, Matrix(a), Matrix(b),
                        Matrix(c), of_bias, stride);
  }
  return LaunchKernel(FewRowsKernel<kRows, false>, blocks, kThreads, stream, Matrix(a), Matrix(b),
                      Matrix(c), of_bias, stride);
}

template <int kTerms>
cudaError_t LaunchShortSum(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c,
                           cudaStream_t stream) {
  constexpr int64_t kOfBlock = int64_t{kThreads} * kColumns;
  const dim3 blocks(static_cast<unsigned>((c.columns + kOfBlock - 1) / kOfBlock),
                    static_cast<unsigned>((c.rows + kRowsOfBlock - 1) / kRowsOfBlock));
  return LaunchKernel(ShortSumKernel<kTerms>, blocks, kThreads, stream, Matrix(a), Matrix(b),
                      Matrix(c));
}

}  // namespace

bool IsThin(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c,
            const std::optional<DeviceMatrix>& bias) {
  constexpr int64_t kMostBlocksDown = 65535;
  if (c.dtype != DType::kFloat32 || c.empty() || a.columns == 0) return false;
  return c.rows <= kMostRows ||
         (IsShortSum(a, b, c, bias) && c.rows <= kMostBlocksDown * kRowsOfBlock);
}

cudaError_t ThinGemm(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c,
                     const std::optional<DeviceMatrix>& bias, cudaStream_t stream) {
  if (c.rows > kMostRows) {
    if (a.columns <= 8) return LaunchShortSum<8>(a, b, c, stream);
    if (a.columns <= 16) return LaunchShortSum<16>(a, b, c, stream);
    if (a.columns <= 24) return LaunchShortSum<24>(a, b, c, stream);
    return LaunchShortSum<32>(a, b, c, stream);
  }
  if (c.rows <= 8) return LaunchFewRows<8>(a, b, c, bias, stream);
  if (c.rows <= 16) return LaunchFewRows<16>(a, b, c, bias, stream);
  if (c.rows <= 24) return LaunchFewRows<24>(a, b, c, bias, stream);
  return LaunchFewRows<32>(a, b, c, bias, stream);
}

}  // namespace tp::nccl
