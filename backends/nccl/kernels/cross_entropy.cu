#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/rows.cuh"

namespace tp::nccl {
namespace {

// Lanes: x, the greatest.
template <typename T, int kVector, int kPerRow>
__global__ void __launch_bounds__(kThreads) RowMaxKernel(const __grid_constant__ Rows<2> rows) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t row, int thread) {
    int64_t at[2];
    rows.places.Find(row, at);
    const T* x = static_cast<const T*>(rows.data[0]) + at[0];
    A greatest = -INFINITY;
    for (int64_t j = thread * kVector; j < rows.length; j += kPerRow * kVector) {
      A part[kVector];
      LoadFromLine<T, kVector>(x, j, rows.strides[0], part);
#pragma unroll
      for (int k = 0; k < kVector; ++k) greatest = Greater{}(greatest, part[k]);
    }
    greatest = OverRow<kPerRow>(greatest, Greater{});
    if (thread == 0) static_cast<A*>(rows.data[1])[at[1]] = greatest;
  });
}

// Lanes: x, m, the sum.
template <typename T, int kVector, int kPerRow>
__global__ void __launch_bounds__(kThreads) ExpSumKernel(const __grid_constant__ Rows<3> rows) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t row, int thread) {
    int64_t at[3];
    rows.places.Find(row, at);
    const T* x = static_cast<const T*>(rows.data[0]) + at[0];
    const A shift = static_cast<const A*>(rows.data[1])[at[1]];
    A sum = 0;
    for (int64_t j = thread * kVector; j < rows.length; j += kPerRow * kVector) {
      A part[kVector];
      LoadFromLine<T, kVector>(x, j, rows.strides[0], part);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum += Exp(part[k] - shift);
    }
    sum = OverRow<kPerRow>(sum, Plus{});
    if (thread == 0) static_cast<A*>(rows.data[2])[at[2]] = sum;
  });
}

// Lanes: x, m, ds, dx.
template <typename T, int kVector, int kPerRow>
__global__ void __launch_bounds__(kThreads) ExpSumGradKernel(const __grid_constant__ Rows<4> rows) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t row, int thread) {
    int64_t at[4];
    rows.places.Find(row, at);
    const T* x = static_cast<const T*>(rows.data[0]) + at[0];
    const A shift = static_cast<const A*>(rows.data[1])[at[1]];
    const A factor = static_cast<const A*>(rows.data[2])[at[2]];
    T* dx = static_cast<T*>(rows.data[3]) + at[3];
    for (int64_t j = thread * kVector; j < rows.length; j += kPerRow * kVector) {
      A part[kVector];
      LoadFromLine<T, kVector>(x, j, rows.strides[0], part);
#pragma unroll
      for (int k = 0; k < kVector; ++k) part[k] = Exp(part[k] - shift) * factor;
      StoreVector<T, kVector>(dx + Along<kVector>(j, rows.strides[3]), part);
    }
  });
}

// Lanes: x, ids, the picked one, whether there is one. A thread a row.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    PickKernel(const __grid_constant__ Rows<4> rows, int64_t begin) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<1>(rows.places.count, [&](int64_t row, int) {
    int64_t at[4];
    rows.places.Find(row, at);
    const int64_t index = static_cast<const int32_t*>(rows.data[1])[at[1]] - begin;
    const bool here = index >= 0 && index < rows.length;
    const T* x = static_cast<const T*>(rows.data[0]) + at[0];
    static_cast<A*>(rows.data[2])[at[2]] = here ? Widen(x[index * rows.strides[0]]) : A(0);
    static_cast<A*>(rows.data[3])[at[3]] = here ? A(1) : A(0);
  });
}

// Lanes: ids, dp, dx.
template <typename T, int kVector, int kPerRow>
__global__ void __launch_bounds__(kThreads)
    PickGradKernel(const __grid_constant__ Rows<3> rows, int64_t begin) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t row, int thread) {
    int64_t at[3];
    rows.places.Find(row, at);
    const int64_t index = static_cast<const int32_t*>(rows.data[0])[at[0]] - begin;
    const A gradient = static_cast<const A*>(rows.data[1])[at[1]];
    T* dx = static_cast<T*>(rows.data[2]) + at[2];
    for (int64_t j = thread * kVector; j < rows.length; j += kPerRow * kVector) {
      A part[kVector];
#pragma unroll
      for (int k = 0; k < kVector; ++k) part[k] = j + k == index ? gradient : A(0);
      StoreVector<T, kVector>(dx + Along<kVector>(j, rows.strides[2]), part);
    }
  });
}

// Lanes: x, ids, m, ds, dp, dx.
template <typename T, int kVector, int kPerRow>
__global__ void __launch_bounds__(kThreads)
    LogitsGradKernel(const __grid_constant__ Rows<6> rows, int64_t begin) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kPerRow>(rows.places.count, [&](int64_t row, int thread) {
    int64_t at[6];
    rows.places.Find(row, at);
    const T* x = static_cast<const T*>(rows.data[0]) + at[0];
    const int64_t target = static_cast<const int32_t*>(rows.data[1])[at[1]] - begin;
    const A shift = static_cast<const A*>(rows.data[2])[at[2]];
    const A factor = static_cast<const A*>(rows.data[3])[at[3]];
    const A of_target = static_cast<const A*>(rows.data[4])[at[4]];
    T* dx = static_cast<T*>(rows.data[5]) + at[5];
    for (int64_t j = thread * kVector; j < rows.length; j += kPerRow * kVector) {
      A part[kVector];
      LoadFromLine<T, kVector>(x, j, rows.strides[0], part);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        part[k] = Exp(part[k] - shift) * factor + (j + k == target ? of_target : A(0));
      }
      StoreVector<T, kVector>(dx + Along<kVector>(j, rows.strides[5]), part);
    }
  });
}

// Lanes: s, m, p, c.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    CrossEntropyKernel(const __grid_constant__ Rows<4> rows, double scale, T* loss,
                       Scratch scratch) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  double sum = 0;
  ForEachRow<1>(rows.places.count, [&](int64_t row, int) {
    int64_t at[4];
    rows.places.Find(row, at);
    A number[4];
#pragma unroll
    for (int l = 0; l < 4; ++l) number[l] = Widen(static_cast<const T*>(rows.data[l])[at[l]]);
    const double log_sum = static_cast<double>(Log(number[0])) + static_cast<double>(number[1]);
    sum += static_cast<double>(number[3]) * log_sum - static_cast<double>(number[2]);
  });
  SumOverGrid(sum, scratch, [&](double total) { *loss = Round<T>(static_cast<A>(scale * total)); });
}

template <typename A>
struct CrossEntropyGrad {
  A scale;
  __device__ void operator()(const A (&x)[2], A (&y)[2]) const {
    y[0] = scale * x[1] / x[0];
    y[1] = -scale;
  }
};

int64_t BeginOf(const KernelCall& c) { return c.op.PartOf('v').begin; }

}  // namespace

const Kernel kRowMaxKernel = {
    Action{"row_max"}, [](const KernelCall& c, cudaStream_t stream) {
      const auto rows = MakeRows<2>({RowView{c.in[0]}, {c.out[0], false}});
      return Dispatch(c.in[0].dtype, [&](auto type) {
        using T = decltype(type);
        return DispatchRows<T>(rows, [&](auto per_row, auto vector, unsigned blocks) {
          return LaunchKernel(RowMaxKernel<T, vector.value, per_row.value>, blocks, kThreads,
                              stream, rows);
        });
      });
    }};
const Kernel kExpSumKernel = {
    Action{"exp_sum"}, [](const KernelCall& c, cudaStream_t stream) {
      const auto rows = MakeRows<3>({RowView{c.in[0]}, {c.in[1], false}, {c.out[0], false}});
      return Dispatch(c.in[0].dtype, [&](auto type) {
        using T = decltype(type);
        return DispatchRows<T>(rows, [&](auto per_row, auto vector, unsigned blocks) {
          return LaunchKernel(ExpSumKernel<T, vector.value, per_row.value>, blocks, kThreads,
                              stream, rows);
        });
      });
    }};
const Kernel kExpSumGradKernel = {
    Action{"exp_sum_grad"}, [](const KernelCall& c, cudaStream_t stream) {
      const auto rows =
          MakeRows<4>({RowView{c.in[0]}, {c.in[1], false}, {c.in[2], false}, {c.out[0]}});
      return Dispatch(c.in[0].dtype, [&](auto type) {
        using T = decltype(type);
        return DispatchRows<T>(rows, [&](auto per_row, auto vector, unsigned blocks) {
          return LaunchKernel(ExpSumGradKernel<T, vector.value, per_row.value>, blocks, kThreads,
                              stream, rows);
        });
      });
    }};
const Kernel kPickKernel = {
    Action{"pick"}, [](const KernelCall& c, cudaStream_t stream) {
      const auto rows =
          MakeRows<4>({RowView{c.in[0]}, {c.in[1], false}, {c.out[0], false}, {c.out[1], false}});
      if (rows.count() == 0) return cudaSuccess;
      return Dispatch(c.in[0].dtype, [&](auto type) {
        return LaunchKernel(PickKernel<decltype(type)>, BlocksFor(rows.count(), kMostWalkBlocks),
                            kThreads, stream, rows, BeginOf(c));
      });
    }};
const Kernel kPickGradKernel = {
    Action{"pick_grad"}, [](const KernelCall& c, cudaStream_t stream) {
      const auto rows = MakeRows<3>({RowView{c.in[1], false}, {c.in[2], false}, {c.out[0]}});
      return Dispatch(c.out[0].dtype, [&](auto type) {
        using T = decltype(type);
        return DispatchRows<T>(rows, [&](auto per_row, auto vector, unsigned blocks) {
          return LaunchKernel(PickGradKernel<T, vector.value, per_row.value>, blocks, kThreads,
                              stream, rows, BeginOf(c));
        });
      });
    }};
const Kernel kLogitsGradKernel = {
    Action{"logits_grad"}, [](const KernelCall& c, cudaStream_t stream) {
      const auto rows = MakeRows<6>({RowView{c.in[0]},
                                     {c.in[1], false},
                                     {c.in[2], false},
                                     {c.in[3], false},
                                     {c.in[4], false},
                                     {c.out[0]}});
      return Dispatch(c.in[0].dtype, [&](auto type) {
        using T = decltype(type);
        return DispatchRows<T>(rows, [&](auto per_row, auto vector, unsigned blocks) {
          return LaunchKernel(LogitsGradKernel<T, vector.value, per_row.value>, blocks, kThreads,
                              stream, rows, BeginOf(c));
        });
      });
    }};
const Kernel kCrossEntropyKernel = {
    Action{"cross_entropy"},
    [](const KernelCall& c, cudaStream_t stream) {
      const auto rows = MakeRows<4>(
          {RowView{c.in[0], false}, {c.in[1], false}, {c.in[2], false}, {c.in[3], false}});
      return Dispatch(c.in[0].dtype, [&](auto type) {
        using T = decltype(type);
        return LaunchKernel(CrossEntropyKernel<T>, BlocksFor(rows.count(), kMostSumBlocks),
                            kThreads, stream, rows, c.op.attributes.Number("scale"),
                            static_cast<T*>(c.out[0].data), c.scratch);
      });
    },
    [](const KernelCall&) { return kSumScratch; }};
const Kernel kCrossEntropyGradKernel = {
    Action{"cross_entropy_grad"}, [](const KernelCall& c, cudaStream_t stream) {
      return Dispatch(c.in[0].dtype, [&](auto type) {
        using T = decltype(type);
        using A = Accumulator<T>;
        const CrossEntropyGrad<A> f{static_cast<A>(c.op.attributes.Number("scale"))};
        return LaunchWalk<2, 2, T>({c.in[0], c.in[1], c.out[0], c.out[1]}, stream, f);
      });
    }};

}  // namespace tp::nccl
