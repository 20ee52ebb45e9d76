// The text form of a Program: what ToString (tp/program/program.h) prints, read back.
//
//   sum order invariant
//   x: fp32 [20, 30] {tp: Replicate, dp: Shard(0)} = input()  # forward
//   w: fp32 [10, 30] {tp: Shard(0), dp: Replicate} = parameter()  # forward
//   y = matmul(x, w^T)  # forward
//   g = mse_grad(y, y, scale=0.5)  # backward
//   result y, g
//
// An op a line, its outputs before "=". A type may be left out where it follows from the operands,
// and "# forward" too. An axis of any name may be told; one that is not is Replicate. Those that
// cut one dimension are told in the order in which they cut it. ^T stands for the letters of a
// product of matrices with an operand transposed; a product of anything else says letters='...'.
// Names are of letters, digits and "_.-/". Empty lines and lines that begin with "#" are passed
// over. The first line of the example, and the last one, are left out where sums are taken in any
// order and where there is no result.
#pragma once

#include <string_view>

#include "tp/core/status.h"
#include "tp/program/program.h"

namespace tp {

// A program whose ops have the types that their rules give; Verify says whether it is whole. What
// ToString prints of it parses to a program that prints the same, attributes to the last bit.
// Errors: INVALID_ARGUMENT, "line 3, column 8: ...".
StatusOr<Program> ParseProgram(std::string_view text);

}  // namespace tp
