// Action: the name of what one launch does. A backend has a kernel of each name.
//
// The op's own name, where an op is one launch on its views; the ones below are what lowering
// makes besides.
#pragma once

#include <compare>
#include <string_view>

namespace tp {

struct Action {
  std::string_view name;

  // c = a b [+ bias on each row], from {a, b[, bias]}; a may have no columns, and c is then zero
  // [+ bias].
  static const Action kGemm;
  // out = the sum of g's rows, from {g}; zero where g has none.
  static const Action kSumRows;
  // out = in, from {in}.
  static const Action kCopy;
  // The invariant sum order; what a node is: ScheduledOp::sum. They accumulate in
  // AccumulatorOf(dtype) and round once, at the store. From {a, b} to {c of each node}: the node's
  // share of a b; from {g} to {out of each node}: its share of the sum of g's rows; from {nodes},
  // a row each, to {out}, one row: the sum of the whole tree.
  static const Action kBlockedGemm;
  static const Action kBlockedSumRows;
  static const Action kSumBlocks;
  // From {x, m} to {out of each node}: the node's share of the sum of exp(x - m) along x's last
  // dimension.
  static const Action kBlockedExpSum;
  // ScheduledOp::call, from {send} to {receive...}.
  static const Action kCollective;

  constexpr auto operator<=>(const Action&) const = default;  // by name
};

inline constexpr Action Action::kGemm{"gemm"};
inline constexpr Action Action::kSumRows{"sum_rows"};
inline constexpr Action Action::kCopy{"copy"};
inline constexpr Action Action::kBlockedGemm{"blocked_gemm"};
inline constexpr Action Action::kBlockedSumRows{"blocked_sum_rows"};
inline constexpr Action Action::kSumBlocks{"sum_blocks"};
inline constexpr Action Action::kBlockedExpSum{"blocked_exp_sum"};
inline constexpr Action Action::kCollective{"collective"};

constexpr std::string_view Name(Action action) { return action.name; }

// Whether it is a matrix product, which makes up the floor under a step.
constexpr bool IsProduct(Action action) {
  return action == Action::kGemm || action == Action::kBlockedGemm;
}

}  // namespace tp
