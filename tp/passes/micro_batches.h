// Micro-batches: a step whose batch is too large for its memory takes it in pieces.
//
// A parameter is then used once a piece, and its gradients add up, while they are Partial. Each
// piece ends before the next one begins, so that their memory is the same. (Gradient accumulation.)
#pragma once

#include <string>
#include <vector>

#include "tp/core/status.h"
#include "tp/program/program.h"

namespace tp {

// "tokens" of the first piece, "micro.1.tokens" of the second.
std::string MicroBatchName(const std::string& name, int piece);
// Which piece a value of that name is of; the first one's and what is of all have no number.
int PieceOf(const std::string& name);

// From a program of one piece, forward and backward, to one of `count` pieces: all ops but
// parameters are there once a piece. Returns, for each of `values`, its sum over the pieces, which
// takes over the name: "dw" is then the sum of "dw.part" and "micro.1.dw". Errors: INVALID_ARGUMENT
// where something can't be added up.
StatusOr<std::vector<ValueId>> RepeatAndSum(Program& program, int count,
                                            const std::vector<ValueId>& values);

}  // namespace tp
