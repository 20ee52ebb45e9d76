// The ops that compute, in one list. A new op is a line here, a file in this folder, and a file of
// kernels in each backend.
#pragma once

#include <span>

#include "tp/program/op_def.h"

#define TP_ALL_OPS(OP)  \
  OP(kAdamw)            \
  OP(kAdamwMaster)      \
  OP(kAdd)              \
  OP(kAddBias)          \
  OP(kAttention)        \
  OP(kAttentionGrad)    \
  OP(kClipFactor)       \
  OP(kCrossEntropy)     \
  OP(kCrossEntropyGrad) \
  OP(kEmbedding)        \
  OP(kEmbeddingGrad)    \
  OP(kExpSum)           \
  OP(kExpSumGrad)       \
  OP(kMatMul)           \
  OP(kMseGrad)          \
  OP(kMseLoss)          \
  OP(kMseLossGrad)      \
  OP(kMul)              \
  OP(kPick)             \
  OP(kPickGrad)         \
  OP(kRelu)             \
  OP(kReluGrad)         \
  OP(kRmsNorm)          \
  OP(kRmsNormGrad)      \
  OP(kRope)             \
  OP(kRowMax)           \
  OP(kSgdUpdate)        \
  OP(kSilu)             \
  OP(kSiluGrad)         \
  OP(kSquareSum)        \
  OP(kSumRows)          \
  OP(kSwiglu)           \
  OP(kSwigluGrad)

namespace tp {

#define TP_DECLARE_OP(name) extern const OpDef name;
TP_ALL_OPS(TP_DECLARE_OP)
#undef TP_DECLARE_OP

std::span<const OpDef* const> AllOps();

}  // namespace tp
