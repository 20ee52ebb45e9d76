// train: trains a language model, split over ranks, on text.
//
// Exit status: 0 if it trained; 1 for input that can't be used, or an output that could not be
// written, with one line on stderr that says what and where; 128 and the signal's number where one
// ended it, after a checkpoint.

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "tools/bench/machine.h"
#include "tools/bench/print.h"
#include "tools/bench/run.h"
#include "tools/bench/tool.h"
#include "tools/io/event_file.h"
#include "tools/io/interrupt.h"
#include "tools/io/paths.h"
#include "tools/io/progress.h"
#include "tools/train/checkpoints.h"
#include "tools/train/log.h"
#include "tools/train/model_step.h"
#include "tools/train/options.h"
#include "tools/train/print.h"
#include "tools/train/sample.h"
#include "tools/train/text.h"
#include "tools/train/trainer.h"
#include "tp/core/clock.h"
#include "tp/huggingface/config.h"
#include "tp/io/atomic_file.h"
#include "tp/schedule/lower.h"

namespace tp::train {
namespace {

constexpr char kTool[] = "train";
constexpr size_t kKeptCheckpoints = 2;

// A run and all that it writes.
class Run {
 public:
  Run(const TrainOptions& options, const Text& text, const std::vector<int32_t>& prompt,
      Trainer& trainer, io::Outputs& outputs)
      : options_(options), text_(text), prompt_(prompt), trainer_(trainer), outputs_(outputs) {}

  // Values to begin with, and files to write to.
  Status Begin(std::optional<int64_t> from, bool root) {
    root_ = root;
    if (from) {
      TP_RETURN_IF_ERROR(trainer_.Load(CheckpointAt(options_.save, *from)));
    } else if (!options_.model.hf.empty()) {
      TP_RETURN_IF_ERROR(trainer_.InitializeFrom(options_.model.hf));
    } else {
      TP_RETURN_IF_ERROR(trainer_.Initialize());
    }
    if (!root) return OkStatus();
    if (!options_.save.empty()) {
      // Before the long work: what would be written must be writable.
      TP_RETURN_IF_ERROR(io::CreateDirectories(options_.save));
      TP_RETURN_IF_ERROR(CheckTakesCheckpoints(options_.save));
      TP_ASSIGN_OR_RETURN(lock_, FolderLock::Take(options_.save));
    }
    if (!options_.log.empty()) {
      TP_ASSIGN_OR_RETURN(log_, Log::Open(options_.log, trainer_.done()));
    }
    if (!options_.logdir.empty()) {
      TP_ASSIGN_OR_RETURN(events_, io::EventFile::Create(options_.logdir));
    }
    progress_.emplace(io::Progress::Options{.tool = kTool});
    return OkStatus();
  }

  // Until the last step, or a signal.
  Status Train() {
    const int64_t first = trainer_.done();
    const io::ProgressStage stage(progress_ ? &*progress_ : nullptr, "steps",
                                  options_.steps - first);
    while (trainer_.done() < options_.steps && io::Interrupt::Signal() == 0) {
      TP_ASSIGN_OR_RETURN(const StepMetrics metrics, trainer_.Step());
      if (root_) Tell(metrics);
      if (progress_) progress_->Update("steps", trainer_.done() - first);
      if (Due(options_.eval_every)) TP_RETURN_IF_ERROR(HoldOut());
      if (Due(options_.save_every)) TP_RETURN_IF_ERROR(Save());
    }
    return OkStatus();
  }

  // What there is once training is over, or was ended.
  Status End() {
    if (io::Interrupt::Signal() == 0 && held_out_after_ != trainer_.done()) {
      TP_RETURN_IF_ERROR(HoldOut());
    }
    TP_RETURN_IF_ERROR(Save());
    if (io::Interrupt::Signal() != 0) return OkStatus();
    if (options_.sample > 0) TP_RETURN_IF_ERROR(Sample());
    const bool saved = !options_.save.empty();
    const std::string next =
        RenderNext(options_, saved ? CheckpointAt(options_.save, trainer_.done()) : "");
    if (root_ && !next.empty()) Print("\n" + next);
    return OkStatus();
  }

 private:
  bool Due(int64_t every) const {
    return every > 0 && trainer_.done() % every == 0 && trainer_.done() < options_.steps;
  }

  // On rank 0.
  void Print(const std::string& text) {
    progress_->Around([&] { outputs_.Print(text); });
  }

  // What can't be written is said once, and not written on with a gap.
  template <typename File>
  void Account(std::unique_ptr<File>& file, const Status& status) {
    if (!outputs_.Account(status)) file.reset();
  }

  void Tell(const StepMetrics& metrics) {
    const int64_t tokens = options_.model.batch * options_.model.sequence;
    Print(RenderStep(options_, metrics));
    if (log_) Account(log_, log_->AddStep(metrics, tokens));
    if (!events_) return;
    Account(events_, events_->Add(metrics.step, {{"loss", metrics.loss},
                                                 {"gradient_norm", metrics.norm},
                                                 {"learning_rate", metrics.rate},
                                                 {"tokens_per_second",
                                                  static_cast<double>(tokens) / metrics.seconds}}));
  }

  Status Sample() {
    const io::ProgressStage stage(progress_ ? &*progress_ : nullptr, "a sample");
    TP_ASSIGN_OR_RETURN(const std::vector<int32_t> written,
                        trainer_.Write(prompt_, options_.sample, options_.temperature));
    std::vector<int32_t> all = prompt_;
    all.insert(all.end(), written.begin(), written.end());
    if (root_) Print("\n" + RenderTokens(all, text_.is_bytes()) + "\n");
    return OkStatus();
  }

  Status HoldOut() {
    TP_ASSIGN_OR_RETURN(const std::optional<double> loss, trainer_.HeldOutLoss());
    held_out_after_ = trainer_.done();
    if (!root_ || !loss) return OkStatus();
    Print(RenderHeldOut(trainer_.done(), *loss));
    if (log_) Account(log_, log_->AddHeldOut(trainer_.done(), *loss));
    if (events_) Account(events_, events_->Add(trainer_.done(), {{"held_out_loss", *loss}}));
    return OkStatus();
  }

  Status Save() {
    const int64_t step = trainer_.done();
    if (options_.save.empty() || (!saved_.empty() && saved_.back() == step)) return OkStatus();
    TP_RETURN_IF_ERROR(trainer_.Save(CheckpointAt(options_.save, step)));
    saved_.push_back(step);
    if (!root_) return OkStatus();
    Print(fmt::format("checkpoint {}\n", CheckpointAt(options_.save, step)));
    if (saved_.size() <= kKeptCheckpoints) return OkStatus();
    return RemoveCheckpoint(options_.save, saved_[saved_.size() - 1 - kKeptCheckpoints]);
  }

  const TrainOptions& options_;
  const Text& text_;
  const std::vector<int32_t>& prompt_;  // of the sample
  Trainer& trainer_;
  io::Outputs& outputs_;
  bool root_ = true;
  int64_t held_out_after_ = -1;
  std::vector<int64_t> saved_;  // steps, by this run
  std::unique_ptr<FolderLock> lock_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<io::EventFile> events_;
  std::optional<io::Progress> progress_;
};

// The checkpoint to go on from, if that is asked for. Errors: there is none; or there is one that
// nobody asked to go on from, which the run would write beside; or it has more steps than are asked
// for.
StatusOr<std::optional<int64_t>> Beginning(const TrainOptions& options) {
  if (options.save.empty() || (options.plan && !options.resume)) return std::optional<int64_t>();
  const std::optional<int64_t> newest = NewestCheckpoint(options.save);
  if (options.resume && !newest) {
    return NotFound(options.save +
                    ": there is no checkpoint to go on from; without --resume a run "
                    "begins anew");
  }
  if (!options.resume && newest) {
    return FailedPrecondition(CheckpointAt(options.save, *newest) +
                              " is there from another run: --resume goes on from it, and --save "
                              "takes another folder");
  }
  if (options.resume && options.steps < *newest) {
    return InvalidArgument(fmt::format("--steps={}: {} has {} steps behind it, which count, too",
                                       options.steps, CheckpointAt(options.save, *newest),
                                       *newest));
  }
  return newest;
}

// Of the checkpoint to go on from, or the one that the flags name. A checkpoint's model is that of
// the flags, where they name one; where they don't, `options` do from here on.
StatusOr<hf::ModelConfig> ConfigFor(TrainOptions& options, std::optional<int64_t> from) {
  if (!from) return ConfigOf(options.model);
  ModelOptions model = options.model;
  model.hf = CheckpointAt(options.save, *from);
  TP_ASSIGN_OR_RETURN(hf::ModelConfig config, ConfigOf(model));
  if (!options.model_given) {
    options.model = model;
    return config;
  }
  TP_ASSIGN_OR_RETURN(const hf::ModelConfig asked, ConfigOf(options.model));
  const auto sizes = [](const hf::ModelConfig& of) { return hf::ConfigOf(of.sizes, 1).text; };
  if (sizes(asked) == sizes(config)) return config;
  return InvalidArgument(model.hf + ": is another model than " +
                         (options.model.hf.empty() ? options.model.model : options.model.hf) +
                         "; --resume alone goes on with it");
}

// Before anything is written.
Status CheckFiles(const TrainOptions& options, std::optional<int64_t> from) {
  std::vector<io::NamedFile> inputs = FilesRead(options.model);
  if (from) {
    const auto more = CheckpointFiles("--resume", CheckpointAt(options.save, *from));
    inputs.insert(inputs.end(), more.begin(), more.end());
  }
  std::vector<io::NamedFile> outputs = {{"--log", options.log}};
  // Folders, of which a file would be in the way.
  if (!options.save.empty()) {
    outputs.push_back({"--save", CheckpointAt(options.save, options.steps)});
  }
  if (!options.logdir.empty()) {
    outputs.push_back({"--logdir", options.logdir + "/events.out.tfevents"});
  }
  return io::CheckDistinct(outputs, inputs);
}

StatusOr<int> Plan(const Backend& backend, const Mesh& mesh, const TransformerConfig& config,
                   const TrainOptions& options, io::Outputs& outputs) {
  const int64_t begin = HostClock().NowNs();
  TP_ASSIGN_OR_RETURN(const std::vector<Program> programs, MakePrograms(config, options, mesh));
  std::vector<std::vector<Schedule>> schedules;
  for (const Program& program : programs) {
    TP_ASSIGN_OR_RETURN(schedules.emplace_back(), LowerAll(program, mesh, backend.HowToLower()));
  }
  const double seconds = static_cast<double>(HostClock().NowNs() - begin) / 1e9;
  if (backend.IsRoot()) outputs.Print(RenderPlan(options, config, schedules, seconds));
  return bench::kHeld;
}

StatusOr<int> Main(int argc, char** argv, io::Outputs& outputs) {
  TP_ASSIGN_OR_RETURN(TrainOptions options, ParseCommandLine(argc, argv));
  TP_ASSIGN_OR_RETURN(const std::optional<int64_t> from, Beginning(options));
  TP_RETURN_IF_ERROR(CheckFiles(options, from));
  TP_ASSIGN_OR_RETURN(const hf::ModelConfig config, ConfigFor(options, from));
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, bench::MakeBackend(options.engine));
  bench::FillDefaults(*backend, options.engine);
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(options.engine.tp, options.engine.dp));
  if (options.plan) return Plan(*backend, mesh, config.sizes, options, outputs);
  TP_ASSIGN_OR_RETURN(const Text text, Text::Open(options.model.text, config.sizes.vocabulary));
  TP_RETURN_IF_ERROR(text.Check());
  TP_ASSIGN_OR_RETURN(const std::vector<int32_t> prompt,
                      PromptOf(options, text, config.sizes.vocabulary));
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                      Trainer::Create(*backend, mesh, config, options, text));
  Run run(options, text, prompt, *trainer, outputs);
  TP_RETURN_IF_ERROR(run.Begin(from, backend->IsRoot()));
  const io::Interrupt interrupt;  // until here there is nothing to lose
  if (backend->IsRoot()) {
    outputs.Print(RenderHead(options, config.sizes, text) +
                  bench::RenderWarnings(bench::WarningsOfLaunch(options.engine, std::getenv)));
    if (from) outputs.Print("goes on from " + CheckpointAt(options.save, *from) + "\n\n");
  }
  TP_RETURN_IF_ERROR(run.Train());
  TP_RETURN_IF_ERROR(run.End());
  return io::Interrupt::Signal() == 0 ? bench::kHeld : io::Interrupt::ExitStatus();
}

}  // namespace
}  // namespace tp::train

int main(int argc, char** argv) {
  return tp::bench::RunTool(tp::train::kTool, argc, argv, tp::train::Main);
}
