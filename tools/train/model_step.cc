#include "tools/train/model_step.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tools/io/memory.h"
#include "tools/io/table.h"
#include "tools/train/text.h"
#include "tp/core/host_tensor.h"
#include "tp/core/random.h"
#include "tp/data/batches.h"
#include "tp/huggingface/checkpoint.h"
#include "tp/model/initial.h"
#include "tp/model/presets.h"
#include "tp/optim/learning_rate.h"
#include "tp/passes/micro_batches.h"
#include "tp/runtime/session.h"
#include "tp/schedule/memory.h"

namespace tp::train {
namespace {

using Sources = std::map<std::string, ElementSource>;

ElementSource ElementsOf(HostTensor tensor) {
  return [shared = std::make_shared<const HostTensor>(std::move(tensor))](int64_t i) {
    return shared->At(i);
  };
}

ElementSource Constant(double value) {
  return [value](int64_t) { return value; };
}

// Uniform, with a standard deviation of 1.
ElementSource Spread(uint64_t seed, uint64_t stream) {
  return [most = std::sqrt(3.0), random = RandomTensor(seed, stream)](int64_t index) {
    return most * random.Uniform(static_cast<uint64_t>(index));
  };
}

// The first batch, as the train tool takes it.
Status AddBatch(const ModelOptions& model, uint64_t seed, const TransformerConfig& config,
                Sources& sources) {
  TP_ASSIGN_OR_RETURN(const Text text, Text::Open(model.text, config.vocabulary));
  TP_ASSIGN_OR_RETURN(const BatchOrder order,
                      BatchOrder::Create(text.learned(), model.sequence, seed));
  TP_ASSIGN_OR_RETURN(const BatchOptions options, BatchOptionsOf(model, config));
  TP_ASSIGN_OR_RETURN(const Batch batch, ReadBatch(options, text, order, /*step=*/0));
  for (size_t i = 0; i < batch.pieces.size(); ++i) {
    const int piece = static_cast<int>(i);
    for (auto& [input, tensor] : batch.pieces[i].Inputs()) {
      sources[MicroBatchName(input, piece)] = ElementsOf(std::move(tensor));
    }
    sources[MicroBatchName("weights", piece)] =
        [weights = batch.pieces[i].Weights(batch.weight)](int64_t i) { return weights[i]; };
  }
  return OkStatus();
}

// The weights of --hf in place of those that were drawn.
Status AddWeights(Backend& backend, const Mesh& mesh, const std::string& folder,
                  const hf::ModelConfig& config, const Program& program, Sources& sources) {
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                      Session::Create(backend, mesh, program));
  const StatusOr<Storage> storage = hf::StorageIn(folder, config, program, hf::Load::kWeights);
  TP_RETURN_IF_ERROR(session->Load(folder, storage));
  std::vector<std::string> names;
  for (const StoredTensor& tensor : storage->tensors) names.push_back(tensor.parameter);
  TP_ASSIGN_OR_RETURN(Tensors tensors, session->ReadAll(names));
  for (auto& [name, tensor] : tensors.by_name) sources[name] = ElementsOf(std::move(tensor));
  return OkStatus();
}

}  // namespace

StatusOr<BatchOptions> BatchOptionsOf(const ModelOptions& model, const TransformerConfig& config) {
  if (model.end_of_text >= config.vocabulary) {
    return InvalidArgument(fmt::format("--end_of_text={}: the model knows the tokens below {}",
                                       model.end_of_text, config.vocabulary));
  }
  return BatchOptions{.rows = model.batch,
                      .micro_batches = model.micro_batches,
                      .sequence = model.sequence,
                      .packed = model.within_documents,
                      .end_of_text = model.end_of_text,
                      .places = config.positions > 0};
}

TransformerStepOptions StepOptions(const ModelOptions& model, const bench::BenchOptions& engine) {
  TransformerStepOptions step;
  step.batch = model.batch;
  step.sequence = model.sequence;
  step.dtype = engine.dtype;
  step.packed = model.within_documents;
  step.sequence_parallel = model.sequence_parallel;
  step.sum_order = engine.sum_order;
  step.micro_batches = model.micro_batches;
  step.recompute = model.recompute;
  step.adamw.decay = model.weight_decay;
  step.adamw.max_norm = model.clip;
  step.adamw.masters = model.masters;
  step.overlap = model.overlap || model.strands > 1;
  step.strands = model.strands;
  return step;
}

StatusOr<hf::ModelConfig> ConfigOf(const ModelOptions& model) {
  if (model.hf.empty()) {
    TP_ASSIGN_OR_RETURN(const TransformerConfig sizes, Preset(model.model));
    return hf::ConfigOf(sizes, model.sequence);
  }
  TP_ASSIGN_OR_RETURN(hf::ModelConfig config, hf::ReadConfig(model.hf));
  if (model.sequence <= config.longest) return config;
  return InvalidArgument(fmt::format("--sequence={}: the model was made for up to {} tokens",
                                     model.sequence, config.longest));
}

StatusOr<ModelStep> DrawModelStep(const Mesh& mesh, const ModelOptions& model,
                                  const bench::BenchOptions& engine) {
  ModelStep step;
  TP_ASSIGN_OR_RETURN(step.config, ConfigOf(model));
  step.options = StepOptions(model, engine);
  const TransformerConfig& sizes = step.config.sizes;
  TP_ASSIGN_OR_RETURN(step.program,
                      model.part ? MakeTransformerPart(sizes, *model.part, step.options, mesh)
                                 : MakeTransformerStep(sizes, step.options, mesh));
  for (const Op& op : step.program.ops()) {
    if (!op.Is(kParameter)) continue;
    const std::string& name = step.program.value(op.outputs[0]).name;
    step.sources[name] = InitialValue(sizes, name, engine.seed);
  }
  if (model.part) {
    step.sources["x"] = Spread(engine.seed, /*stream=*/0);
    step.sources["dy"] = Spread(engine.seed, /*stream=*/1);
    return step;
  }
  TP_RETURN_IF_ERROR(AddBatch(model, engine.seed, sizes, step.sources));
  step.sources[kRateInput] = Constant(engine.learning_rate);
  step.sources[kMomentCorrectionInput] =
      Constant(BiasCorrection(step.options.adamw.beta_moment, 0));
  step.sources[kSquareCorrectionInput] =
      Constant(BiasCorrection(step.options.adamw.beta_square, 0));
  return step;
}

Status LoadWeights(Backend& backend, const Mesh& mesh, const ModelOptions& model, ModelStep& step) {
  if (model.hf.empty() || model.part) return OkStatus();
  return AddWeights(backend, mesh, model.hf, step.config, step.program, step.sources);
}

Status CheckMemory(const bench::BenchOptions& engine, const ModelOptions& model,
                   const std::vector<Schedule>& schedules) {
  if (engine.backend != "sim") return OkStatus();
  const int ranks = engine.tp * engine.dp;
  double bytes = io::kBytesOfARanksThreads * ranks;
  for (const Schedule& schedule : schedules) bytes += static_cast<double>(ArenaOf(schedule).bytes);
  return io::CheckFits(
      bytes,
      fmt::format("steps of {} with {} sequences of {} tokens on {} ranks", NameOf(model),
                  model.batch, model.sequence, ranks),
      "take a smaller --batch or --sequence, more --micro_batches, or --recompute");
}

std::string NameOf(const ModelOptions& model) {
  const std::string& name = model.hf.empty() ? model.model : model.hf;
  return model.part ? fmt::format("{}'s {}", name, Name(*model.part)) : name;
}

std::string RenderModel(const ModelOptions& model, const bench::BenchOptions& engine,
                        const TransformerConfig& config) {
  std::string text = fmt::format(
      "{}: {} parameters in {}, tp {}{}, dp {}, backend {}\n", NameOf(model),
      fmt::group_digits(model.part ? NumParameters(config, *model.part) : NumParameters(config)),
      bench::DTypeName(engine), engine.tp,
      model.sequence_parallel ? " with sequence parallelism" : "", engine.dp, engine.backend);
  text += fmt::format("a step: {}{} sequences of {} tokens",
                      model.part ? "forward and backward of " : "", model.batch, model.sequence);
  if (model.micro_batches > 1) text += fmt::format(" in {} micro-batches", model.micro_batches);
  if (model.recompute) text += ", activations recomputed";
  if (!model.masters) text += ", no masters";
  return text + "\n";
}

}  // namespace tp::train
