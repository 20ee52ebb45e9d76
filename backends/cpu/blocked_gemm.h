// Matrix products in the invariant sum order (tp/core/sum_order.h).
//
// An element's bits depend on its row of a, its column of b and the blocks alone: not on the sizes
// of the matrices, its place in them, or how they are stored. BLAS does not promise that, and does
// not keep it: it picks kernels by size and place. Here one loop computes every element, vectors
// run across elements and never along a sum, and edges are padded with zeros up to a whole tile.
//
// Products accumulate in AccumulatorOf(dtype), one fused multiply-add a term where the processor
// has it, and are rounded once, at the store. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backends/cpu/kernels.h"
#include "tp/core/dtype.h"
#include "tp/schedule/schedule.h"

namespace tp::cpu {

// Bytes of scratch, aligned to a cache line, that products m x k by k x n need.
int64_t BlockedGemmScratchBytes(DType dtype, int64_t m, int64_t n, int64_t k);

// c[i] = the share of sum.nodes[i] in a b, where a's columns and b's rows are the blocks of all
// nodes, in order; c is of `c_dtype`, which is `dtype` or its accumulator's type. Any strides; c
// overlaps nothing else.
void BlockedGemm(DType dtype, const Matrix& a, const Matrix& b, const BlockedSum& sum,
                 DType c_dtype, std::span<const Matrix> c, std::byte* scratch);

// out[i] (1 x columns) = the share of sum.nodes[i] in the sum of g's rows: the product of a row of
// ones with g. Scratch as for 1 x g.rows by g.rows x g.columns.
void BlockedSumRows(DType dtype, const Matrix& g, const BlockedSum& sum, DType out_dtype,
                    std::span<const Matrix> out, std::byte* scratch);

// out (1 x columns, of `dtype`) = the columns of `nodes`, of its accumulator's type and a row each,
// added up along the tree.
void SumBlocks(DType dtype, const Matrix& nodes, const BlockedSum& sum, const Matrix& out);

}  // namespace tp::cpu
