#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/functions.cuh"
#include "backends/nccl/kernels/rows.cuh"
#include "backends/nccl/kernels/sum_node.cuh"

namespace tp::nccl {
namespace {

static_assert(kSumBlocks <= kWarp);

// The sums of each node, which lie alike.
struct NodeSums {
  void* data[kSumBlocks] = {};
};

// A warp takes a row, a lane a leaf, and then a node. Lanes of rows: x, m, a node's sums.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    BlockedExpSumKernel(const __grid_constant__ Rows<3> rows, const __grid_constant__ NodeSums sums,
                        const __grid_constant__ SumWalk walk) {
  AwaitEarlierKernels();
  using A = Accumulator<T>;
  ForEachRow<kWarp>(rows.places.count, [&](int64_t row, int lane) {
    int64_t at[3];
    rows.places.Find(row, at);
    A of_leaf = 0;
    if (lane < walk.first_leaf[walk.num_nodes]) {
      const T* x = static_cast<const T*>(rows.data[0]) + at[0];
      const A shift = static_cast<const A*>(rows.data[1])[at[1]];
      for (int64_t j = walk.leaves[lane].begin; j < walk.leaves[lane].end; ++j) {
        of_leaf = Add(of_leaf, Exp(Widen(x[j * rows.strides[0]]) - shift));
      }
    }
    for (int node = 0; node < walk.num_nodes; ++node) {
      A sum = 0;
      SumNode<1>(walk, node, &sum,
                 [&](int leaf, A* of) { *of = __shfl_sync(0xffffffffu, of_leaf, leaf); });
      if (lane == 0) static_cast<A*>(sums.data[node])[at[2]] = sum;
    }
  });
}

cudaError_t BlockedExpSum(const KernelCall& c, cudaStream_t stream) {
  const Rows<3> rows = MakeRows<3>({RowView{c.in[0]}, {c.in[1], false}, {c.out[0], false}});
  if (rows.count() == 0) return cudaSuccess;
  NodeSums sums;
  for (size_t i = 0; i < c.out.size(); ++i) sums.data[i] = c.out[i].data;
  const SumWalk walk = WalkBlocks(c.op.sum);
  return Dispatch(c.in[0].dtype, [&](auto type) {
    return LaunchKernel(BlockedExpSumKernel<decltype(type)>,
                        BlocksFor(rows.count() * kWarp, kMostWalkBlocks), kThreads, stream, rows,
                        sums, walk);
  });
}

}  // namespace

const Kernel kBlockedExpSumKernel = {Action::kBlockedExpSum, BlockedExpSum};

}  // namespace tp::nccl
