// Rewrites of a Schedule, before its waits are known, that let more of it run at the same time.
//
// They keep what is computed, but for the order of sums in a loss and in an all_reduce or
// reduce_scatter of more than two ranks, and they keep the bytes that are moved. All ranks of a
// group cut sums alike.
#pragma once

#include <cstdint>

#include "tp/schedule/schedule.h"

namespace tp {

// Cuts a matrix product whose result is summed over ranks, and the sum, into parts of rows of about
// `part_bytes` or more (at most kMostParts): the sum of one part is under way while the product
// makes the next. Where parts have 128 rows or more they begin at multiples of 64, and where they
// have fewer, at multiples of the largest power of two that fits twice: wide accesses begin there.
// Elementwise ops that read the sum are cut alike, and so is a product behind such an op
// whose parts are then as large: they begin when the first part has come; a loss is summed over the
// parts at the end. Leaves alone what is smaller than two parts, sums whose rows are not the
// slowest index in memory, and products that are
// not of matrices by their letters, which ranks with other shards may have in other loops.
inline constexpr int kMostParts = 4;
void CutSums(Schedule& schedule, int64_t part_bytes);

// Cuts an all_gather in place of which `part_bytes` or more come from others, and the matrix
// products right behind it that read the whole as rows. The gather becomes a block from one member
// after the other (Turns in cut.h), which moves the same bytes; the products begin with this rank's
// own rows and go on with each block's as it comes. As many products as keep a GPU busy meanwhile
// (kWorkPerByte), and as few pieces of them; the rest is left alone.
inline constexpr int64_t kWorkPerByte = 2000;  // operations; an H200 and its links: 750e12 / 370e9
void CutGathers(Schedule& schedule, int64_t part_bytes);

// Cuts a matrix product whose result is summed in its place by the reduce_scatter behind it, of
// which this rank would send `part_bytes` or more: the rows of one other block after the other are
// made, each sent (Turns in cut.h) while the next ones are made, this rank's own at last; a sum of
// the blocks, this rank's first, comes where it is needed. That moves the same bytes, by copy
// engines where the GPU backend has them, and takes memory for the blocks. Each rank of a group
// cuts what the others cut; where its product is no matrix whose rows are the blocks', it makes all
// of it before it sends.
void CutScatters(Schedule& schedule, int64_t part_bytes);

}  // namespace tp
