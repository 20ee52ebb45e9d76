// Activation recomputation: the backward pass of a block makes again what the forward pass made.
//
// Of a block the forward pass then keeps only what goes in and what comes out. Before the first op
// of the backward pass that reads something else of it, the ops that make that are run once more,
// on the same values: so the bits are the same, and the memory is that of one block and not of all.
// The price is their time and their collectives. Chen, Xu, Zhang & Guestrin, "Training Deep Nets
// with Sublinear Memory Cost", 2016.
#pragma once

#include <string>

#include "tp/core/status.h"
#include "tp/program/program.h"

namespace tp {

// A block is what the forward pass names alike after `scope`: "layers.3.attention.q" is of block 3
// of "layers". What is made again is named "again.layers.3.attention.q". The program has a forward
// and a backward pass, in the order in which they are to run. Errors: INVALID_ARGUMENT where no op
// of the forward pass is in such a block.
Status Recompute(Program& program, const std::string& scope);

}  // namespace tp
