// Rewrites of a Program that keep what it computes and make it cheaper.
//
// Each is a function from a verified Program to one that still verifies, with the same results by
// name (a result's placement may change from Replicate to Partial where it says so). A pass that
// finds nothing to do changes nothing.
#pragma once

#include "tp/core/mesh.h"
#include "tp/program/program.h"

namespace tp {

// A loss of an all-gathered value is the sum of the losses of its shards, and a slice of the loss's
// gradient is the gradient at the slice. So both are computed on the shard: the loss becomes
// Partial over that axis, and nothing waits for the all-gather. Not in the invariant sum order: the
// sum of the shards' losses changes with their number.
void ComputeLossOnShards(Program& program);

// mse_loss and mse_grad of the same values become one mse_loss_grad, which reads them once.
void FuseLossAndGradient(Program& program);

// The sum of an exp_sum_grad and a pick_grad of the same values, which nothing else reads, becomes
// one logits_grad: the gradient of logits is written once, and not three times.
void FuseLogitsGradient(Program& program);

// add_bias of a matrix product that nothing else reads becomes the product's bias operand. Where a
// partial product is summed first, its first rank adds the bias to its part: Replicate -> Partial.
// Not in the invariant sum order: a product that is summed over ranks is rounded before its bias.
void FuseBias(Program& program);

// add of a matrix product that nothing else reads and of another tensor becomes one product to
// which that is added, rounded once: the gradient of what several products read is written once for
// each of them, and read by the next. Not in the invariant sum order, as above.
void FuseSum(Program& program);

// Reorders the ops of each phase (backward and gradient_sync count as one), as far as their
// dependencies allow, so that what feeds the most communication on `mesh` runs first: the rest then
// runs while that communication is under way. Of the rest products come first, which take longest.
void StartCommunicationEarly(Program& program, const Mesh& mesh);

// Moves what is of phase gradient_sync right behind what it reads, and nothing else: it runs while
// the rest of the backward pass goes on.
void SyncGradientsEarly(Program& program);

// Drops ops that no result and no parameter update depends on.
void DropDeadOps(Program& program);

// All of them, in the order that works.
void Optimize(Program& program, const Mesh& mesh);

}  // namespace tp
