// What the products of the invariant sum order share: how they lie, and where their nodes go.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "backends/nccl/kernels/element.cuh"
#include "backends/nccl/kernels/matrix.h"
#include "tp/core/sum_order.h"

namespace tp::nccl {

// A matrix a node.
struct Outputs {
  explicit Outputs(std::span<const DeviceMatrix> c) : like(c[0]) {
    for (size_t i = 0; i < c.size(); ++i) data[i] = c[i].data;
  }
  DeviceMatrix like;
  void* data[kSumBlocks] = {};
};

// A product's operands, a row of terms for each row and for each column of c, turned so that c runs
// along its columns. A product of two numbers is the same in either order.
struct TurnedProduct {
  TurnedProduct(const DeviceMatrix& a, const DeviceMatrix& b, std::span<const DeviceMatrix> c)
      : a(a), b(b.Transposed()), c(c) {
    if (!RunsDownRows(c[0])) return;
    std::swap(this->a, this->b);
    this->c.like = this->c.like.Transposed();
  }
  DeviceMatrix a, b;
  Outputs c;
};

template <typename C, typename W>
__device__ inline void StoreSum(const Outputs& c, int node, int64_t row, int64_t column, W sum) {
  C& to = static_cast<C*>(c.data[node])[row * c.like.row_stride + column * c.like.column_stride];
  if constexpr (std::is_same_v<C, W>) {
    to = sum;
  } else {
    to = Round<C>(sum);
  }
}

inline int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Fewer large tiles than this leave much of a large GPU idle.
inline constexpr int64_t kFewTiles = 132;

}  // namespace tp::nccl
