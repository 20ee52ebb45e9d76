#include "tools/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "fmt/format.h"
#include "tools/train/model_step.h"
#include "tp/core/host_tensor.h"
#include "tp/huggingface/checkpoint.h"
#include "tp/io/byte_source.h"
#include "tp/io/json.h"
#include "tp/model/initial.h"
#include "tp/optim/loss_scale.h"
#include "tp/passes/micro_batches.h"
#include "tp/schedule/lower.h"

namespace tp::train {
namespace {

// What a checkpoint says of its run, beside the model.
constexpr char kStateFile[] = "trainer.json";

// How many steps are done, and what decides which tokens a step takes, and what it computes in.
nlohmann::ordered_json StateOf(const TrainOptions& options, const Text& text, int64_t done) {
  return {{"step", done},
          {"seed", options.engine.seed},
          {"batch", options.model.batch},
          {"sequence", options.model.sequence},
          {"within_documents", options.model.within_documents},
          {"end_of_text", options.model.end_of_text},
          {"dtype", bench::DTypeName(options.engine)},
          {"masters", options.model.masters},
          {"tokens", text.size()}};
}

// The steps that are done, where the run took the batches of these options.
StatusOr<int64_t> ReadState(const std::string& path, const TrainOptions& options,
                            const Text& text) {
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<io::ByteSource> file, io::OpenFile(path));
  std::string bytes(static_cast<size_t>(file->size()), '\0');
  TP_RETURN_IF_ERROR(file->Read(0, std::as_writable_bytes(std::span(bytes))));
  const StatusOr<io::Json> state = io::ParseJson(bytes, "the file", /*max_depth=*/1);
  if (!state.ok()) return state.status().WithContext(path);
  const auto steps = state->find("step");
  if (steps == state->end() || !steps->is_number_unsigned()) {
    return InvalidArgument(path + ": it says no number of steps, 'step'");
  }
  // What runs of older versions do not say.
  const auto expected = StateOf(options, text, 0);
  io::Json had = {{"within_documents", false},
                  {"end_of_text", -1},
                  {"dtype", expected["dtype"]},
                  {"masters", true},
                  {"tokens", expected["tokens"]}};
  had.update(*state);
  const auto differs = [&](const char* name) {
    return !had.contains(name) || had.at(name).dump() != expected[name].dump();
  };
  const auto show = [](const auto& value) {
    return value.is_string() ? value.template get<std::string>() : value.dump();
  };
  for (const char* name :
       {"seed", "batch", "sequence", "within_documents", "end_of_text", "dtype", "masters"}) {
    if (!differs(name)) continue;
    return InvalidArgument(path + ": that run had --" + name + "=" +
                           (had.contains(name) ? show(had.at(name)) : "?") + ", and not " +
                           show(expected[name]) + ": its steps were others");
  }
  if (differs("tokens")) {
    return InvalidArgument(path + ": the --text of that run had " + had.at("tokens").dump() +
                           " tokens, and not " + expected["tokens"].dump() +
                           "; a new run with its weights is --hf=FOLDER");
  }
  return steps->get<int64_t>();
}

// What such a step leaves is no model to go on with.
Status NotFinite(const char* what, int64_t step) {
  return FailedPrecondition(fmt::format(
      "the {} of step {} is no finite number: take a smaller --lr, or a longer --warmup", what,
      step));
}

}  // namespace

TransformerStepOptions StepOptions(const TrainOptions& options) {
  TransformerStepOptions step = StepOptions(options.model, options.engine);
  step.results = {kSquaresOfGradients};
  return step;
}

StatusOr<std::vector<Program>> MakePrograms(const TransformerConfig& config,
                                            const TrainOptions& options, const Mesh& mesh) {
  std::vector<Program> programs;
  const auto add = [&programs](StatusOr<Program> program) -> Status {
    TP_RETURN_IF_ERROR(program.status());
    programs.push_back(*std::move(program));
    return OkStatus();
  };
  TransformerStepOptions step = StepOptions(options);
  TP_RETURN_IF_ERROR(add(MakeTransformerStep(config, step, mesh)));
  step.results = {};
  step.batch /= step.micro_batches;
  step.micro_batches = 1;
  TP_RETURN_IF_ERROR(add(MakeTransformerForward(config, step, mesh)));
  if (options.sample == 0) return programs;
  step.batch = 1;
  TP_RETURN_IF_ERROR(add(MakeTransformerDecode(config, step, mesh)));
  return programs;
}

StatusOr<std::unique_ptr<Trainer>> Trainer::Create(Backend& backend, const Mesh& mesh,
                                                   const hf::ModelConfig& config,
                                                   const TrainOptions& options, const Text& text) {
  TP_ASSIGN_OR_RETURN(
      const BatchOrder order,
      BatchOrder::Create(text.learned(), options.model.sequence, options.engine.seed));
  TP_ASSIGN_OR_RETURN(const BatchOptions batches, BatchOptionsOf(options.model, config.sizes));
  TP_ASSIGN_OR_RETURN(const std::vector<Program> programs,
                      MakePrograms(config.sizes, options, mesh));
  std::vector<Schedule> all;
  for (const Program& program : programs) {
    TP_ASSIGN_OR_RETURN(const std::vector<Schedule> schedules,
                        LowerAll(program, mesh, backend.HowToLower()));
    all.insert(all.end(), schedules.begin(), schedules.end());
  }
  TP_RETURN_IF_ERROR(CheckMemory(options.engine, options.model, all));
  TP_ASSIGN_OR_RETURN(auto sessions, Session::CreateAll(backend, mesh, programs));
  std::unique_ptr<Trainer> trainer(new Trainer(config, options, text, order, batches));
  trainer->rate_ = {options.peak_rate, options.least_rate, options.warmup, options.steps};
  trainer->adamw_ = StepOptions(options).adamw;
  trainer->step_ = std::move(sessions[0]);
  trainer->forward_ = std::move(sessions[1]);
  if (sessions.size() > 2) {
    trainer->writer_.emplace(config.sizes, options.model.sequence, std::move(sessions[2]));
  }
  return trainer;
}

Status Trainer::Initialize() {
  for (const std::string& name : step_->NamesOf(Role::kParameter)) {
    TP_RETURN_IF_ERROR(step_->Write(name, InitialValue(config_.sizes, name, options_.engine.seed)));
  }
  return OkStatus();
}

Status Trainer::InitializeFrom(const std::string& folder) {
  TP_RETURN_IF_ERROR(Initialize());  // of which the optimizer's state stays
  return step_->Load(folder, hf::StorageIn(folder, config_, step_->program(), hf::Load::kWeights));
}

Status Trainer::Save(const std::string& folder) {
  hf::SaveOptions more;
  more.texts[kStateFile] = StateOf(options_, text_, done_).dump(2) + "\n";
  TP_ASSIGN_OR_RETURN(const Storage storage, hf::StorageToSave(config_, step_->program(), more));
  return step_->Save(folder, storage);
}

Status Trainer::Load(const std::string& folder) {
  TP_ASSIGN_OR_RETURN(const int64_t done, ReadState(folder + "/" + kStateFile, options_, text_));
  TP_RETURN_IF_ERROR(
      step_->Load(folder, hf::StorageIn(folder, config_, step_->program(), hf::Load::kAll)));
  done_ = done;
  least_scale_ = false;
  return OkStatus();
}

Status Trainer::FeedScalar(const char* name, double value) {
  return step_->Feed(name, [value](int64_t) { return value; });
}

Status Trainer::FeedRows(Session& session, int piece, const Rows& rows, double weight) {
  for (const auto& [input, tensor] : rows.Inputs()) {
    TP_RETURN_IF_ERROR(session.Feed(MicroBatchName(input, piece), tensor));
  }
  const std::vector<double> weights = rows.Weights(weight);
  return session.Feed(MicroBatchName("weights", piece),
                      [&](int64_t i) { return weights[static_cast<size_t>(i)]; });
}

Status Trainer::FeedStep(int64_t step) {
  TP_ASSIGN_OR_RETURN(const Batch batch, ReadBatch(batches_, text_, order_, step));
  for (size_t piece = 0; piece < batch.pieces.size(); ++piece) {
    TP_RETURN_IF_ERROR(
        FeedRows(*step_, static_cast<int>(piece), batch.pieces[piece], batch.weight));
  }
  TP_RETURN_IF_ERROR(FeedScalar(kRateInput, rate_.At(step)));
  TP_RETURN_IF_ERROR(FeedScalar(kMomentCorrectionInput, BiasCorrection(adamw_.beta_moment, step)));
  TP_RETURN_IF_ERROR(FeedScalar(kSquareCorrectionInput, BiasCorrection(adamw_.beta_square, step)));
  fed_ = step;
  return OkStatus();
}

StatusOr<StepMetrics> Trainer::Step() {
  const int64_t begin = HostClock().NowNs();
  if (fed_ != done_) TP_RETURN_IF_ERROR(FeedStep(done_));
  TP_RETURN_IF_ERROR(step_->Step());
  StepMetrics metrics;
  metrics.rate = rate_.At(done_);
  metrics.step = ++done_;
  // The next batch travels while this step runs.
  if (done_ < options_.steps) TP_RETURN_IF_ERROR(FeedStep(done_));
  std::vector<std::string> read = {"loss", kSquaresOfGradients};
  const bool scaled = step_->program().Find(kLossScaleParameter).ok();
  if (scaled) read.push_back(kLossScaleParameter);
  TP_ASSIGN_OR_RETURN(const Tensors results, step_->ReadAll(read));
  metrics.seconds = static_cast<double>(HostClock().NowNs() - begin) / 1e9;
  if (!step_->IsRoot()) return metrics;
  if (!results.replica_defects.empty()) return Internal(results.replica_defects[0]);
  metrics.loss = results.by_name.at("loss").At(0);
  metrics.norm = std::sqrt(results.by_name.at(kSquaresOfGradients).At(0));
  if (!std::isfinite(metrics.loss)) return NotFinite("loss", done_);
  const bool had_least = least_scale_;
  if (scaled) metrics.loss_scale = results.by_name.at(kLossScaleParameter).At(0);
  least_scale_ = metrics.loss_scale <= 1;
  if (std::isfinite(metrics.norm)) return metrics;
  metrics.skipped = scaled && !had_least;  // a smaller scale may do
  if (!metrics.skipped) return NotFinite("norm of the gradients", done_);
  return metrics;
}

StatusOr<std::optional<double>> Trainer::HeldOutLoss() {
  const int64_t first = text_.learned();
  const int64_t windows = (text_.size() - first - 1) / options_.model.sequence;
  if (windows < 1) return std::optional<double>();
  TP_RETURN_IF_ERROR(forward_->CopyParametersFrom(*step_));
  const int64_t most = options_.model.batch / options_.model.micro_batches;
  double loss = 0;
  int64_t counted = 0;
  for (int64_t window = 0; window < windows; window += most) {
    Rows rows(batches_);
    for (int64_t i = window; i < window + most; ++i) {
      if (i >= windows) {
        rows.AddEmpty();
      } else {
        TP_RETURN_IF_ERROR(rows.Add(text_, first + i * options_.model.sequence));
      }
    }
    counted += rows.counted();
    TP_RETURN_IF_ERROR(FeedRows(*forward_, 0, rows, 1));
    TP_RETURN_IF_ERROR(forward_->Step());
    TP_ASSIGN_OR_RETURN(const HostTensor part, forward_->Read("loss"));
    if (forward_->IsRoot()) loss += part.At(0);
  }
  if (counted == 0) return std::optional<double>();
  if (!std::isfinite(loss)) return NotFinite("held-out loss", done_);
  return std::optional<double>(loss / static_cast<double>(counted));
}

StatusOr<std::vector<int32_t>> Trainer::Write(std::vector<int32_t> prompt, int64_t count,
                                              double temperature) {
  return writer_->Write(*step_, std::move(prompt), {count, temperature, options_.engine.seed});
}

}  // namespace tp::train
