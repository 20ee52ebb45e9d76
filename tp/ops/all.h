// The ops that compute, in one list. A new op is a line here, a file in this folder, and a file of
// kernels in each backend.
#pragma once

#include <span>

#include "tp/program/op_def.h"

#define TP_ALL_OPS(OP)     \
  OP(kAdamw)               \
  OP(kAdamwMaster)         \
  OP(kAdd)                 \
  OP(kAddBias)             \
  OP(kAddPositions)        \
  OP(kAddPositionsGrad)    \
  OP(kAddToTokens)         \
  OP(kAttention)           \
  OP(kAttentionGrad)       \
  OP(kCast)                \
  OP(kClipFactor)          \
  OP(kCrossEntropy)        \
  OP(kCrossEntropyGrad)    \
  OP(kDropout)             \
  OP(kEmbedding)           \
  OP(kEmbeddingGrad)       \
  OP(kExpSum)              \
  OP(kExpSumGrad)          \
  OP(kGelu)                \
  OP(kGeluGrad)            \
  OP(kGeluTanh)            \
  OP(kGeluTanhGrad)        \
  OP(kLayerNorm)           \
  OP(kLayerNormGrad)       \
  OP(kLogitsGrad)          \
  OP(kLossScale)           \
  OP(kMatMul)              \
  OP(kMseGrad)             \
  OP(kMseLoss)             \
  OP(kMseLossGrad)         \
  OP(kMul)                 \
  OP(kPackedAttention)     \
  OP(kPackedAttentionGrad) \
  OP(kPick)                \
  OP(kPickGrad)            \
  OP(kRelu)                \
  OP(kReluGrad)            \
  OP(kRmsNorm)             \
  OP(kRmsNormGrad)         \
  OP(kRope)                \
  OP(kRowMax)              \
  OP(kScale)               \
  OP(kSgdUpdate)           \
  OP(kSilu)                \
  OP(kSiluGrad)            \
  OP(kSquareSum)           \
  OP(kSumRows)             \
  OP(kSumTokens)           \
  OP(kSwiglu)              \
  OP(kSwigluGrad)

namespace tp {

#define TP_DECLARE_OP(name) extern const OpDef name;
TP_ALL_OPS(TP_DECLARE_OP)
#undef TP_DECLARE_OP

std::span<const OpDef* const> AllOps();

}  // namespace tp
