// The linear layer y = x w^T + b, with its weight split over the tp axis by rows or by columns.
//
// w is stored [out_features, in_features], as in PyTorch. A mode says which dimension of w is
// sharded; x comes in replicated over tp and y goes out replicated over tp, so that the modes can
// take each other's place:
//
//   mode    w         b          x         y
//   row     Shard(0)  Shard(0)   as it is  Shard(1), then all-gathered
//   column  Shard(1)  Replicate  sliced    Partial, then all-reduced
//
// Other systems have the names the other way round (docs/naming.md): row is Megatron-LM's
// column-parallel and DTensor's ColwiseParallel, column their row-parallel and RowwiseParallel.
//
// Source: Shoeybi et al., "Megatron-LM", 2019, section 3, whose A is w^T here.
#pragma once

#include <optional>
#include <string_view>

#include "tp/ops/builder.h"
#include "tp/program/program.h"

namespace tp {

enum class LinearMode { kRow, kColumn };

// "row", "column".
std::string_view Name(LinearMode mode);
std::optional<LinearMode> ParseLinearMode(std::string_view name);

// The values that a layer adds to its Program.
struct Linear {
  ValueId w = kNoValue;
  ValueId b = kNoValue;
  ValueId y = kNoValue;
};

// Appends parameters "w" [out_features, in_features] and "b" [out_features], and the forward ops on
// `x` [tokens, in_features], which ends in "y" [tokens, out_features]. Fails the builder where x is
// no matrix or is not replicated over tp.
Linear AddLinear(Builder& builder, LinearMode mode, int64_t out_features, ValueId x);

}  // namespace tp
