#include "tp/model/transformer.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "tp/autodiff/backward.h"
#include "tp/layers/attention.h"
#include "tp/layers/cached_attention.h"
#include "tp/layers/embedding.h"
#include "tp/layers/loss.h"
#include "tp/layers/mlp.h"
#include "tp/layers/projection.h"
#include "tp/ops/all.h"
#include "tp/ops/builder.h"
#include "tp/optim/loss_scale.h"
#include "tp/passes/micro_batches.h"
#include "tp/passes/passes.h"
#include "tp/passes/recompute.h"

namespace tp {
namespace {

constexpr int64_t kMostElements = int64_t{1} << 48;

// A step has some hundred ops a layer, and is planned op by op.
constexpr int64_t kMostLayers = 10'000;

Status InRange(std::string_view name, int64_t size, int64_t most = int64_t{1} << 31) {
  if (size >= 1 && size <= most) return OkStatus();
  return InvalidArgument(std::string(name) + " is " + std::to_string(size) +
                         "; it must be between 1 and " + std::to_string(most));
}

// Of what two sizes make together.
Status Fits(std::string_view what, int64_t a, int64_t b) {
  if (a <= kMostElements / b) return OkStatus();
  return InvalidArgument(std::string(what) + " is too large: " + std::to_string(a) + " x " +
                         std::to_string(b) + " is beyond " + std::to_string(kMostElements) +
                         " elements");
}

Status CheckStep(const TransformerConfig& config, const TransformerStepOptions& options) {
  TP_RETURN_IF_ERROR(CheckConfig(config));
  TP_RETURN_IF_ERROR(InRange("batch", options.batch));
  TP_RETURN_IF_ERROR(InRange("sequence", options.sequence));
  TP_RETURN_IF_ERROR(Fits("batch x sequence", options.batch, options.sequence));
  TP_RETURN_IF_ERROR(InRange("micro_batches", options.micro_batches));
  TP_RETURN_IF_ERROR(InRange("strands", options.strands));
  if (options.batch % options.micro_batches != 0) {
    return InvalidArgument("micro_batches is " + std::to_string(options.micro_batches) +
                           ", which must divide batch, " + std::to_string(options.batch));
  }
  if (config.positions > 0 && options.sequence > config.positions) {
    return InvalidArgument("sequence is " + std::to_string(options.sequence) +
                           ", and the model has " + std::to_string(config.positions) +
                           " positions");
  }
  const int64_t widest =
      std::max({config.hidden, config.heads * config.head_size, config.ffn, config.vocabulary});
  return Fits("what a batch makes", options.batch * options.sequence, widest);
}

// Whether tp cuts groups of heads; else the query heads of each.
bool CutsGroups(const TransformerConfig& config, SumOrder order, int tp) {
  if (order == SumOrder::kInvariant) return true;  // sums over heads take one order on all meshes
  const auto most = [tp](int64_t size) { return (size + tp - 1) / tp; };
  const int64_t of_group = config.heads / config.kv_heads;
  return most(config.kv_heads) * of_group <= config.kv_heads * most(of_group);
}

class Transformer {
 public:
  Transformer(const TransformerConfig& config, const TransformerStepOptions& options,
              const Mesh& mesh)
      : config_(config),
        options_(options),
        between_(BetweenProducts(options.sequence_parallel)),
        attention_{.groups = config.kv_heads,
                   .heads_of_group = config.heads / config.kv_heads,
                   .head_size = config.head_size,
                   .turn = config.positions == 0,
                   .rope = config.rope,
                   .input_bias = config.qkv_bias,
                   .output_bias = config.bias,
                   .cut_groups = CutsGroups(config, options.sum_order, mesh.Size(Axis::kTp)),
                   .out = between_},
        mlp_{.kind = config.mlp, .features = config.ffn, .bias = config.bias, .out = between_} {}

  // Appends the forward pass and returns its loss, which is scaled where `scale` says by what.
  ValueId Forward(Builder& b, const std::optional<LossScaling>& scale) const {
    const Placements batch(Replicate(), Shard(0));
    const Shape shape = {options_.batch / options_.micro_batches, options_.sequence};
    const ValueId tokens = b.Input("tokens", shape, DType::kInt32, batch);
    const ValueId targets = b.Input("targets", shape, DType::kInt32, batch);
    ValueId weights = b.Input("weights", shape, AccumulatorOf(options_.dtype), batch);
    if (scale) weights = b.Op("weights.scaled", kScale, {weights, scale->scale});
    EmbeddingOptions table = {config_.vocabulary, config_.hidden, config_.positions, options_.dtype,
                              between_};
    ValueId starts = kNoValue;
    if (options_.packed) {
      starts = b.Input("starts", shape, DType::kInt32, batch);
      if (table.positions > 0) table.places = b.Input("places", shape, DType::kInt32, batch);
    }
    const auto attend = [&](ValueId x) { return AddAttention(b, attention_, x, starts); };
    return AddLanguageLoss(b, Blocks(b, AddEmbedding(b, table, tokens), attend), targets, weights);
  }

  // How what runs through all layers lies.
  Placements Stream() const { return {between_, Shard(0)}; }

  // Appends the forward pass of layer 0, or of its feed-forward layer, and returns what comes out.
  ValueId PartOf(Builder& b, TransformerPart part, ValueId x) const {
    const Builder::Scope layer = b.In("layers", 0);
    if (part == TransformerPart::kBlock) {
      return Block(b, x, [&](ValueId normed) { return AddAttention(b, attention_, normed); });
    }
    const Builder::Scope scope = b.In("mlp");
    return AddMlp(b, mlp_, b.Redistribute("x.whole", x, Axis::kTp, Replicate()));
  }

  // Appends the pass of one token of each sequence and returns its logits.
  ValueId Decode(Builder& b) const {
    const Placements batch(Replicate(), Shard(0));
    const DType wide = AccumulatorOf(options_.dtype);
    const int64_t n = options_.batch, d = config_.head_size;
    const ValueId tokens = b.Input("tokens", {n, 1}, DType::kInt32, batch);
    EmbeddingOptions table = {config_.vocabulary, config_.hidden, config_.positions,
                              options_.dtype};
    if (table.positions > 0) table.places = b.Input("places", {n, 1}, DType::kInt32, batch);
    CachePlace at;
    at.place = b.Input("place", {n, options_.sequence}, wide, batch);
    at.seen = b.Input("seen", {n, 1, options_.sequence}, wide, batch);
    at.turn_query = b.Input("turn.query", {n, d, d}, wide, batch);
    at.turn_key = b.Input("turn.key", {n, d, d}, wide, batch);
    at.ones = b.Input("ones", {attention_.groups, attention_.heads_of_group, n, 1}, wide,
                      Placements(attention_.cut_groups ? Shard(0) : Shard(1), Shard(2)));
    const auto attend = [&](ValueId x) { return AddCachedAttention(b, attention_, at, x); };
    return Blocks(b, AddEmbedding(b, table, tokens), attend);
  }

 private:
  // From the embedding to the logits; `attend` appends a layer's attention.
  template <typename Attend>
  ValueId Blocks(Builder& b, const Embedding& embedding, const Attend& attend) const {
    ValueId x = embedding.x;
    for (int64_t i = 0; i < config_.layers; ++i) {
      const Builder::Scope scope = b.In("layers", i);
      x = Block(b, x, attend);
    }
    return Logits(b, x, embedding.table);
  }

  template <typename Attend>
  ValueId Block(Builder& b, ValueId x, const Attend& attend) const {
    const auto normed = [&] { return Whole(b, AddNorm(b, "norm", config_.norm, x)); };
    {
      const Builder::Scope scope = b.In("attention");
      x = b.Add("sum", x, attend(normed()));
    }
    const Builder::Scope scope = b.In("mlp");
    return b.Add("sum", x, AddMlp(b, mlp_, normed()));
  }

  // As products take it.
  static ValueId Whole(Builder& b, ValueId x) {
    return b.Redistribute("norm.whole", x, Axis::kTp, Replicate());
  }

  ValueId Logits(Builder& b, ValueId x, ValueId table) const {
    const ValueId normed = Whole(b, AddNorm(b, "norm", config_.norm, x));
    if (!config_.tied_embeddings) {
      table = b.Parameter("output.weight", {config_.vocabulary, config_.hidden}, options_.dtype,
                          Placements(Shard(0), Replicate()));
    }
    return b.Product("logits", "bse,ve -> bsv", normed, table);
  }

  const TransformerConfig& config_;
  const TransformerStepOptions& options_;
  const Placement between_;
  const AttentionOptions attention_;
  const MlpOptions mlp_;
};

// Whether the order of ops is that of pieces that take turns in one memory, which no pass may mix.
bool InPieces(const TransformerStepOptions& options) {
  return options.micro_batches > 1 || options.recompute;
}

// Weights of products and tables decay; gains and biases don't.
bool Decays(const std::string& parameter) { return parameter.ends_with(".weight"); }

// Appends the reverse pass, of all micro-batches, and returns the gradients of `wrt`; the loss
// becomes that of all.
StatusOr<std::vector<ValueId>> AddGradients(Program& program, ValueId& loss,
                                            const std::vector<ValueId>& wrt,
                                            const TransformerStepOptions& options,
                                            const Mesh& mesh) {
  if (!InPieces(options)) return AddBackward(program, loss, wrt);
  // Sums of the invariant order are no numbers to add to, until they are whole.
  const bool whole = options.sum_order == SumOrder::kInvariant;
  TP_ASSIGN_OR_RETURN(std::vector<ValueId> sums,
                      (whole ? AddBackward : AddUnfinishedBackward)(program, loss, wrt));
  if (options.optimize) {
    FuseLogitsGradient(program);
    FuseBias(program);
    FuseSum(program);
    StartCommunicationEarly(program, mesh);
  }
  if (options.recompute) TP_RETURN_IF_ERROR(Recompute(program, "layers"));
  sums.push_back(loss);
  TP_ASSIGN_OR_RETURN(sums, RepeatAndSum(program, options.micro_batches, sums));
  loss = sums.back();
  sums.pop_back();
  for (size_t i = 0; i < wrt.size(); ++i) {
    TP_ASSIGN_OR_RETURN(sums[i], FinishGradient(program, wrt[i], sums[i]));
  }
  if (options.optimize) SyncGradientsEarly(program);
  return sums;
}

// Gradients of fp16 would vanish without.
bool ScalesLoss(const TransformerStepOptions& options) { return options.dtype == DType::kFloat16; }

// But those of the loss scale, which is no model's.
std::vector<ValueId> ParametersOf(const Program& program,
                                  const std::optional<LossScaling>& scale = std::nullopt) {
  std::vector<ValueId> parameters;
  for (const Op& op : program.ops()) {
    const bool is_scale = scale && op.Is(kParameter) && scale->has(op.outputs[0]);
    if (op.Is(kParameter) && !is_scale) parameters.push_back(op.outputs[0]);
  }
  return parameters;
}

Status AddUpdates(Program& program, ValueId& loss, const std::optional<LossScaling>& scale,
                  const TransformerStepOptions& options, const Mesh& mesh) {
  const std::vector<ValueId> parameters = ParametersOf(program, scale);
  TP_ASSIGN_OR_RETURN(const std::vector<ValueId> gradients,
                      AddGradients(program, loss, parameters, options, mesh));
  if (scale) {
    program.Rename(loss, "loss.scaled");
    Builder b(program);
    loss = b.Op("loss", kMul, {loss, scale->inverse});
    TP_RETURN_IF_ERROR(b.status());
  }
  return AddAdamW(program, parameters, gradients, options.adamw, Decays, scale);
}

Status Finish(Program& program, ValueId result, const TransformerStepOptions& options,
              const Mesh& mesh) {
  program.AddResult(result);
  for (const std::string& name : options.results) {
    TP_ASSIGN_OR_RETURN(const ValueId result, program.Find(name));
    program.AddResult(result);
  }
  TP_RETURN_IF_ERROR(Verify(program));
  if (!options.optimize) return OkStatus();
  if (InPieces(options)) {
    DropDeadOps(program);
  } else {
    Optimize(program, mesh);
  }
  return Verify(program);
}

// Where it is asked for.
Status Hide(Program& program, const TransformerStepOptions& options, const Mesh& mesh,
            HideReport* hidden) {
  if (!options.optimize || !options.overlap) return OkStatus();
  HideReport report =
      HideCommunication(program, mesh, {.rates = options.rates, .strands = options.strands});
  if (hidden != nullptr) *hidden = std::move(report);
  return Verify(program);
}

StatusOr<Program> Make(const TransformerConfig& config, const TransformerStepOptions& options,
                       const Mesh& mesh, bool trains) {
  TP_RETURN_IF_ERROR(CheckStep(config, options));
  Program program;
  program.set_sum_order(options.sum_order);
  Builder b(program);
  std::optional<LossScaling> scale;
  if (trains && ScalesLoss(options)) scale = AddLossScale(b, AccumulatorOf(options.dtype));
  ValueId loss = Transformer(config, options, mesh).Forward(b, scale);
  TP_RETURN_IF_ERROR(b.status());
  if (trains) TP_RETURN_IF_ERROR(AddUpdates(program, loss, scale, options, mesh));
  TP_RETURN_IF_ERROR(Finish(program, loss, options, mesh));
  return program;
}

}  // namespace

Status CheckConfig(const TransformerConfig& config) {
  const std::pair<std::string_view, int64_t> sizes[] = {
      {"vocabulary", config.vocabulary}, {"hidden", config.hidden},       {"heads", config.heads},
      {"kv_heads", config.kv_heads},     {"head_size", config.head_size}, {"ffn", config.ffn}};
  for (const auto& [name, size] : sizes) TP_RETURN_IF_ERROR(InRange(name, size));
  TP_RETURN_IF_ERROR(InRange("layers", config.layers, kMostLayers));
  if (config.heads % config.kv_heads != 0) {
    return InvalidArgument("heads is " + std::to_string(config.heads) + " and kv_heads is " +
                           std::to_string(config.kv_heads) + ", which must divide it");
  }
  if (config.positions != 0) TP_RETURN_IF_ERROR(InRange("positions", config.positions));
  if (config.positions == 0 && config.head_size % 2 != 0) {
    return InvalidArgument("head_size is " + std::to_string(config.head_size) +
                           ", and rope turns pairs; take an even one");
  }
  TP_RETURN_IF_ERROR(Fits("heads x head_size", config.heads, config.head_size));
  TP_RETURN_IF_ERROR(Fits("a projection of heads", config.heads * config.head_size, config.hidden));
  TP_RETURN_IF_ERROR(Fits("a feed-forward weight", config.ffn, config.hidden));
  return Fits("the embedding", config.vocabulary, config.hidden);
}

StatusOr<Program> MakeTransformerStep(const TransformerConfig& config,
                                      const TransformerStepOptions& options, const Mesh& mesh,
                                      HideReport* hidden) {
  TP_ASSIGN_OR_RETURN(Program program, Make(config, options, mesh, /*trains=*/true));
  TP_RETURN_IF_ERROR(Hide(program, options, mesh, hidden));
  return program;
}

std::string_view Name(TransformerPart part) {
  return part == TransformerPart::kBlock ? "block" : "mlp";
}

std::optional<TransformerPart> ParseTransformerPart(std::string_view name) {
  for (TransformerPart part : {TransformerPart::kBlock, TransformerPart::kMlp}) {
    if (Name(part) == name) return part;
  }
  return std::nullopt;
}

StatusOr<Program> MakeTransformerPart(const TransformerConfig& config, TransformerPart part,
                                      const TransformerStepOptions& options, const Mesh& mesh,
                                      HideReport* hidden) {
  TransformerStepOptions whole = options;
  whole.micro_batches = 1;
  whole.recompute = false;
  whole.strands = 1;
  TP_RETURN_IF_ERROR(CheckStep(config, whole));
  Program program;
  program.set_sum_order(options.sum_order);
  Builder b(program);
  const Transformer transformer(config, whole, mesh);
  const Shape shape = {options.batch, options.sequence, config.hidden};
  const ValueId x = b.Input("x", shape, options.dtype, transformer.Stream());
  const ValueId y = transformer.PartOf(b, part, x);
  const ValueId dy = b.Input("dy", shape, options.dtype, transformer.Stream());
  TP_RETURN_IF_ERROR(b.status());
  program.Rename(y, "y");
  std::vector<ValueId> wrt = {x};
  for (ValueId parameter : ParametersOf(program)) wrt.push_back(parameter);
  TP_ASSIGN_OR_RETURN(const std::vector<ValueId> gradients, AddBackwardFrom(program, y, dy, wrt));
  // Of x it is a sum, one of whose terms may have the name.
  if (const StatusOr<ValueId> other = program.Find("dx"); other.ok() && *other != gradients[0]) {
    program.Rename(*other, program.FreeName("dx.part"));
  }
  program.Rename(gradients[0], "dx");
  for (ValueId gradient : gradients) program.AddResult(gradient);
  TP_RETURN_IF_ERROR(Finish(program, y, whole, mesh));
  TP_RETURN_IF_ERROR(Hide(program, whole, mesh, hidden));
  return program;
}

StatusOr<Program> MakeTransformerForward(const TransformerConfig& config,
                                         const TransformerStepOptions& options, const Mesh& mesh) {
  return Make(config, options, mesh, /*trains=*/false);
}

StatusOr<Program> MakeTransformerDecode(const TransformerConfig& config,
                                        const TransformerStepOptions& options, const Mesh& mesh) {
  TP_RETURN_IF_ERROR(CheckStep(config, options));
  TransformerStepOptions decode = options;
  decode.sequence_parallel = false;
  decode.micro_batches = 1;
  decode.recompute = false;
  // The order of the options decides where parameters lie, as in the step. Sums take the fast one:
  // what is multiplied head by head has no other.
  Program program;
  Builder b(program);
  const ValueId logits = Transformer(config, decode, mesh).Decode(b);
  TP_RETURN_IF_ERROR(b.status());
  TP_RETURN_IF_ERROR(Finish(program, logits, decode, mesh));
  return program;
}

}  // namespace tp
