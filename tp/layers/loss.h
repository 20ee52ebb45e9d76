// The loss of a language model, of logits whose vocabulary is split over tp: no rank has all logits
// of a token (tp/ops/cross_entropy.cc).
#pragma once

#include "tp/ops/builder.h"
#include "tp/program/program.h"

namespace tp {

// Appends "loss", the sum over tokens of a token's weight times the cross-entropy of its logits, in
// nats: of `logits` [batch, sequence, vocabulary], which tp cuts by vocabulary, `targets` [batch,
// sequence] int32 and `weights` [batch, sequence] in the accumulator's type. A target outside the
// vocabulary counts nothing. With weights of 1 / (tokens that count) the loss is the mean.
ValueId AddLanguageLoss(Builder& b, ValueId logits, ValueId targets, ValueId weights);

}  // namespace tp
