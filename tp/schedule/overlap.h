// A rewrite of a Schedule, before its waits are known, that lets more of it run at the same time.
//
// It keeps what is computed, but for the order of sums in a loss and in an all_reduce of more than
// two ranks, and it keeps the bytes that are moved. All ranks of a group cut alike.
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

}  // namespace tp
