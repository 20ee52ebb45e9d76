// A decoder-only transformer and the Program of its training step.
//
// From tokens to a loss: embedding, blocks of attention and a feed-forward layer, each behind a
// norm and added to what came in, a norm, and the logits' loss. Then the reverse pass, the sums of
// gradients over ranks, and AdamW. Over tp heads, hidden features and vocabulary are split as
// Megatron-LM does, and under sequence parallelism what lies between the products by places in the
// sequence; over dp the batch is. Sizes need not divide. No rank has all logits of a token.
//
// Inputs: "tokens" and "targets" [batch, sequence] int32, "weights" [batch, sequence] (what each
// token's loss is multiplied by: see below), and the scalars of tp/optim/adamw.h. Batches are
// global; of several micro-batches each has these, by MicroBatchName of tp/passes/micro_batches.h.
// Where a sequence is packed with documents also "starts" [batch, sequence] int32, the place where
// a token's document begins, and where positions are learned "places", how far it is from there.
//
// Parameters, with v the vocabulary, e the hidden size, g key and value heads and r query heads for
// each, d a head's size, f the feed-forward size; i counts layers from 0:
//
//   embedding.weight [v, e]           norm.gain [e]            output.weight [v, e], unless tied
//   layers.i.attention.norm.gain [e]  layers.i.mlp.norm.gain [e]
//   layers.i.attention.query.weight [g, r, d, e]   layers.i.mlp.gate.weight, up.weight [f, e]
//   layers.i.attention.key.weight, value.weight [g, d, e]
//   layers.i.attention.output.weight [e, g, r, d]  layers.i.mlp.down.weight [e, f]
//
// Where the model has them, also position.weight [positions, e], a ".bias" beside each gain, and
// one beside each weight of a layer, of the shape of what comes out of it.
//
// The last word of a name says what it is: "weight", "gain", "bias"; row-major, each has the memory
// of the tensor of Hugging Face's Llama that it stands for. AdamW adds ".moment", ".square" and,
// where it keeps masters, ".master" behind a parameter's name.
//
// The loss is the sum of each token's weight times its cross-entropy, in nats. The mean over the
// tokens that count, of the whole batch and of all micro-batches of a step, is that with weights of
// 1 / (their number), whatever the ranks. A step in fp16 differentiates a multiple of it
// (tp/optim/loss_scale.h). A target outside the vocabulary (-1) does not count.
//
// Sources: Touvron et al., "LLaMA", 2023; Shoeybi et al., "Megatron-LM", 2019; Korthikanti et al.,
// "Reducing Activation Recomputation in Large Transformer Models", 2022; Press & Wolf, "Using the
// Output Embedding to Improve Language Models", 2017 (tied).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/core/sum_order.h"
#include "tp/layers/mlp.h"
#include "tp/layers/norm.h"
#include "tp/ops/rope.h"
#include "tp/optim/adamw.h"
#include "tp/passes/hide_communication.h"
#include "tp/program/program.h"

namespace tp {

struct TransformerConfig {
  int64_t vocabulary = 256;
  int64_t hidden = 64;
  int64_t layers = 2;
  int64_t heads = 4;
  int64_t kv_heads = 2;  // divides heads
  int64_t head_size = 16;
  int64_t ffn = 176;
  NormOptions norm = {};
  MlpKind mlp = MlpKind::kSwiglu;
  bool qkv_bias = false;  // of queries, keys and values
  bool bias = false;      // of what attention and the feed-forward layers' products put out
  int64_t positions = 0;  // learned, of as many places; 0: queries and keys are turned by rope
  RopeOptions rope = {};
  bool tied_embeddings = false;  // the logits' weight is the embedding's
};

// Errors: INVALID_ARGUMENT that names the size, its value, and what it may be.
Status CheckConfig(const TransformerConfig& config);

// How many numbers its parameters have; those of tied embeddings count once.
int64_t NumParameters(const TransformerConfig& config);

struct TransformerStepOptions {
  int64_t batch = 1;              // sequences, of all micro-batches
  int64_t sequence = 1;           // tokens of each
  DType dtype = DType::kFloat32;  // of parameters and what flows
  bool sequence_parallel = false;
  bool packed = false;  // a sequence holds several documents; attention stays within each
  AdamWOptions adamw = {};
  SumOrder sum_order = SumOrder::kFast;
  int micro_batches = 1;  // divides batch; taken one after the other, so that memory is that of one
  bool recompute = false;   // the backward pass makes a layer's activations again: memory for time
  bool optimize = true;     // the passes
  bool overlap = false;     // and the one that hides communication (docs/overlap.md)
  int strands = 1;          // of it: micro-batches under way, so that one hides another's
  MachineRates rates = {};  // by which it is chosen what to hide
  // Values of the program that are results beside "loss", by name: "logits", or
  // "dlayers.0.mlp.up.weight", a parameter's gradient.
  std::vector<std::string> results = {};
};

// The step for `mesh`, which decides what is cut where: key and value heads, or the query heads of
// each where those are fewer on the fullest rank. Result "loss". Errors: INVALID_ARGUMENT for sizes
// out of range, and NOT_FOUND for a result that no value is called.
// `hidden`, where given, is what was made of the order of ops, and why.
StatusOr<Program> MakeTransformerStep(const TransformerConfig& config,
                                      const TransformerStepOptions& options, const Mesh& mesh,
                                      HideReport* hidden = nullptr);

// The forward pass alone: for validation, and for logits ("logits" [batch, sequence, vocabulary]
// among the results).
StatusOr<Program> MakeTransformerForward(const TransformerConfig& config,
                                         const TransformerStepOptions& options, const Mesh& mesh);

// One block of the model, or the feed-forward layer of it alone: what layers are measured by.
enum class TransformerPart { kBlock, kMlp };
std::string_view Name(TransformerPart part);  // "block", "mlp"
std::optional<TransformerPart> ParseTransformerPart(std::string_view name);

// How many numbers the parameters of one have.
int64_t NumParameters(const TransformerConfig& config, TransformerPart part);

// Forward and reverse of one, with neither tokens nor loss nor update: inputs "x" and "dy" [batch,
// sequence, hidden], of the options' dtype, lie as between blocks; parameters are layer 0's;
// results are "y", and the gradients of sum(y * dy): "dx", and one "d" + NAME for each parameter.
// A block is norm, attention, sum, norm, feed-forward layer and sum; kMlp has neither norm nor sum.
// Of the options, those of documents, micro-batches, recomputation, strands and AdamW have no
// meaning. Errors, and `hidden`: as MakeTransformerStep's.
StatusOr<Program> MakeTransformerPart(const TransformerConfig& config, TransformerPart part,
                                      const TransformerStepOptions& options, const Mesh& mesh,
                                      HideReport* hidden = nullptr);

// One token more of each of `batch` sequences of up to `sequence` tokens: the keys and values of
// those before are kept in parameters "layers.i.attention.key.cache" and "value.cache"
// (tp/layers/cached_attention.h), which are zero where a sequence begins. Result "logits" [batch,
// 1, vocabulary]. Inputs: "tokens" [batch, 1] int32, and those that tell where they are
// (tp/model/decode.h). The options' sequence_parallel and what is said of training have no meaning.
StatusOr<Program> MakeTransformerDecode(const TransformerConfig& config,
                                        const TransformerStepOptions& options, const Mesh& mesh);

}  // namespace tp
