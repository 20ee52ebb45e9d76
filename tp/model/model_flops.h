// What a transformer's training step has to compute, whatever the program that does it: the
// numerator of model FLOPs utilisation (MFU).
//
//   6 N T + 12 L H Q S T
//
// with N the parameters that take part in products (all but tables that are only looked up), T the
// tokens of a step, L layers, H heads of size Q, and S the tokens of a sequence: two operations for
// each parameter and token forward and four backward, and likewise for attention's two products.
// What is masked, computed again or computed by several ranks does not change it. Source: Chowdhery
// et al., "PaLM", 2022, appendix B.
#pragma once

#include <cstdint>

#include "tp/model/transformer.h"

namespace tp {

// N of it.
int64_t ParametersOfProducts(const TransformerConfig& config);

// Floating-point operations of a step of `batch` sequences of `sequence` tokens.
double ModelFlops(const TransformerConfig& config, int64_t batch, int64_t sequence);

// The same of one of its parts, all of whose parameters count, forward and backward: L is 1, or for
// the feed-forward layer 0.
double PartFlops(const TransformerConfig& config, TransformerPart part, int64_t batch,
                 int64_t sequence);

}  // namespace tp
