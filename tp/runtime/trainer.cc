#include "tp/runtime/trainer.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "tp/runtime/assemble.h"
#include "tp/runtime/blob.h"
#include "tp/runtime/pace.h"
#include "tp/runtime/unpack.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

constexpr int kTimedOpSteps = 5;  // extra steps where timing the ops slows them down

// The training run of one rank and program, from its schedule to the blob that rank 0 reads.
class RankRun {
 public:
  RankRun(const Program& program, int number, const std::map<std::string, ElementSource>& sources,
          const TrainOptions& options, const Schedule& schedule, RankContext& context, Pace& pace)
      : program_(program),
        number_(number),
        sources_(sources),
        options_(options),
        schedule_(schedule),
        context_(context),
        pace_(pace) {}

  Status Begin() {
    TP_ASSIGN_OR_RETURN(executor_, context_.MakeExecutor(schedule_));
    TP_RETURN_IF_ERROR(Feed());
    return TrainSteps(options_.warmup);
  }

  // A block of the timed steps. `disturbed`: others ran since the last one.
  Status Block(int steps, bool disturbed) {
    if (disturbed && !losses_.empty()) {
      TP_RETURN_IF_ERROR(PacedStep(StepKind::kProductsOnly).status());
    }
    TP_RETURN_IF_ERROR(TrainSteps(steps));
    for (int step = 0; options_.time_products && step < steps; ++step) {
      TP_ASSIGN_OR_RETURN(const bool done, PacedStep(StepKind::kProductsOnly));
      if (!done) return OkStatus();
      products_.push_back(executor_->LastStep());
      Report(/*products=*/true, static_cast<int>(products_.size()));
    }
    return OkStatus();
  }

  StatusOr<std::string> Finish() {
    TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/true, last_));
    // Where training was stopped there may be less; the blob has a place for all.
    first_.resize(last_.size());
    watched_.resize(3 * options_.watched.size());
    for (auto& parts : watched_) parts.resize(last_.size());
    if (options_.profiled_steps > 0 && !pace_.stopped()) TP_RETURN_IF_ERROR(ProfileSteps());
    if (executor_->OpTimesAreFree()) {
      op_steps_ = steps_;
    } else if (!steps_.empty()) {
      executor_->TimeOps(true);
      for (int step = 0; step <= kTimedOpSteps; ++step) {
        TP_RETURN_IF_ERROR(context_.Barrier());
        TP_RETURN_IF_ERROR(RunStep(StepKind::kWhole));
        if (step > 0) op_steps_.push_back(executor_->LastStep());
      }
      executor_->TimeOps(false);
    }
    return Pack();
  }

 private:
  Status TrainSteps(int steps) {
    for (int i = 0; i < steps; ++i) {
      const int step = static_cast<int>(losses_.size());
      const bool watched =
          std::binary_search(options_.watched.begin(), options_.watched.end(), step);
      if (watched) TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/true, watched_.emplace_back()));
      TP_ASSIGN_OR_RETURN(const bool done, PacedStep(StepKind::kWhole));
      if (!done) return OkStatus();
      losses_.push_back(0);
      TP_RETURN_IF_ERROR(ReadLoss());
      if (step >= options_.warmup) steps_.push_back(executor_->LastStep());
      if (step == 0) TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/false, first_));
      if (watched) {
        TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/false, watched_.emplace_back()));
        TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/true, watched_.emplace_back()));
      }
      Report(/*products=*/false, step + 1);
    }
    return OkStatus();
  }

  void Report(bool products, int done) const {
    if (options_.progress && context_.rank() == 0) options_.progress({number_, products, done});
  }

  // False where training was stopped instead.
  StatusOr<bool> PacedStep(StepKind kind) {
    TP_ASSIGN_OR_RETURN(const bool go, pace_.Next());
    if (go) TP_RETURN_IF_ERROR(RunStep(kind));
    return go;
  }

  Status RunStep(StepKind kind) {
    if (kind == StepKind::kWhole) ++whole_steps_;
    TP_RETURN_IF_ERROR(executor_->EnqueueStep(kind));
    return executor_->Synchronize();
  }

  StatusOr<ProfiledStep> StepOnTheClock() {
    ProfiledStep step;
    step.number = whole_steps_++;
    step.arrived_ns = context_.clock().NowNs();
    TP_RETURN_IF_ERROR(context_.Barrier());
    step.released_ns = context_.clock().NowNs();
    TP_RETURN_IF_ERROR(executor_->EnqueueStep(StepKind::kWhole));
    step.handed_over_ns = context_.clock().NowNs();
    TP_RETURN_IF_ERROR(executor_->Synchronize());
    step.synchronized_ns = context_.clock().NowNs();
    TP_ASSIGN_OR_RETURN(step.record, executor_->CollectProfile());
    return step;
  }

  Status ProfileSteps() {
    profile_ = MakeRankProfile(executor_->Device());
    TP_RETURN_IF_ERROR(executor_->Profile(true));
    for (int i = 0; i <= options_.profiled_steps; ++i) {
      TP_ASSIGN_OR_RETURN(ProfiledStep step, StepOnTheClock());
      if (i == 0) continue;  // pays for what a profiler sets up on first use
      profiled_.push_back({step.record.begin_ns, step.record.end_ns, {}, {}});
      if (i > options_.profiled_steps - kTracedSteps) profile_.steps.push_back(std::move(step));
    }
    return executor_->Profile(false);
  }

  std::vector<std::byte> Image(const Binding& binding) const {
    return std::vector<std::byte>(schedule_.buffers[binding.view.buffer].bytes());
  }

  Status Feed() {
    for (const Binding& binding : schedule_.bindings) {
      if (!IsSource(program_, binding)) continue;
      std::vector<std::byte> image = Image(binding);
      // Where the part shares a buffer, the other parts in it stay as they are.
      TP_RETURN_IF_ERROR(executor_->Read(binding.view.buffer, image));
      FillLocal(binding, sources_.at(binding.name), image);
      TP_RETURN_IF_ERROR(executor_->Write(binding.view.buffer, image));
    }
    return OkStatus();
  }

  Status ReadLoss() {
    const Binding& loss = schedule_.BindingOf("loss");
    std::byte image[sizeof(double)] = {};
    const std::span<std::byte> bytes(image, schedule_.buffers[loss.view.buffer].bytes());
    TP_RETURN_IF_ERROR(executor_->Read(loss.view.buffer, bytes));
    DecodeToDouble(loss.dtype, bytes, std::span(&losses_.back(), 1));
    return OkStatus();
  }

  Status ReadParts(bool parameters, std::vector<std::vector<std::byte>>& parts) {
    for (const Binding& binding : schedule_.bindings) {
      parts.emplace_back();
      if (!IsWanted(program_, binding, parameters)) continue;
      std::vector<std::byte> image = Image(binding);
      TP_RETURN_IF_ERROR(executor_->Read(binding.view.buffer, image));
      parts.back() = ExtractLocal(binding, image);
    }
    return OkStatus();
  }

  void PackSteps(const std::vector<StepRecord>& steps, BlobWriter& blob) const {
    blob.Number(static_cast<int64_t>(steps.size()));
    for (const StepRecord& step : steps) PackStep(step, blob);
  }

  std::string Pack() const {
    BlobWriter blob;
    blob.Number(static_cast<int64_t>(pace_.stopped()));
    blob.Number(static_cast<int64_t>(losses_.size()));
    for (double loss : losses_) blob.Number(loss);
    for (const auto& part : first_) blob.Bytes(part);
    for (const auto& part : last_) blob.Bytes(part);
    for (const auto& parts : watched_) {
      for (const auto& part : parts) blob.Bytes(part);
    }
    PackSteps(steps_, blob);
    PackSteps(op_steps_, blob);
    PackSteps(products_, blob);
    PackSteps(profiled_, blob);
    PackProfile(profile_, blob);
    for (size_t i = 0; i < schedule_.ops.size(); ++i) {
      const bool collective = schedule_.ops[i].action == Action::kCollective;
      const int index = static_cast<int>(i);
      blob.Text(collective ? executor_->AlgorithmOf(index) : std::string());
      blob.Number(collective ? executor_->ExpectedBytes(index) : int64_t{0});
    }
    return blob.Take();
  }

  const Program& program_;
  const int number_;
  const std::map<std::string, ElementSource>& sources_;
  const TrainOptions& options_;
  const Schedule& schedule_;
  RankContext& context_;
  Pace& pace_;
  std::unique_ptr<Executor> executor_;
  std::vector<double> losses_;
  // By binding; empty where not wanted.
  std::vector<std::vector<std::byte>> first_, last_;
  // Of each watched step: the parameters, the results, the parameters.
  std::vector<std::vector<std::vector<std::byte>>> watched_;
  std::vector<StepRecord> steps_, op_steps_, products_, profiled_;
  RankProfile profile_;
  int64_t whole_steps_ = 0;
};

Status CheckRequest(const Program& program, const std::map<std::string, ElementSource>& sources,
                    const TrainOptions& options) {
  TP_RETURN_IF_ERROR(Verify(program));
  if (options.warmup < 0 || options.steps < 1) {
    return InvalidArgument(
        "training takes 0 or more warm-up steps and at least 1 timed step, not " +
        std::to_string(options.warmup) + " and " + std::to_string(options.steps));
  }
  if (options.blocks < 1 || options.blocks > options.steps) {
    return InvalidArgument(std::to_string(options.steps) + " steps can't be cut into " +
                           std::to_string(options.blocks) + " blocks");
  }
  const int steps = options.warmup + options.steps;
  const std::vector<int>& watched = options.watched;
  const bool ascending = std::adjacent_find(watched.begin(), watched.end(),
                                            std::greater_equal<int>()) == watched.end();
  if (!watched.empty() && (!ascending || watched.front() < 0 || watched.back() >= steps)) {
    return InvalidArgument("the watched steps must be ascending numbers of the " +
                           std::to_string(steps) + " steps, from 0");
  }
  for (const Op& op : program.ops()) {
    if (!op.IsSource()) continue;
    const std::string& name = program.value(op.outputs[0]).name;
    if (sources.count(name) == 0) return InvalidArgument("no source feeds '" + name + "'");
  }
  TP_ASSIGN_OR_RETURN(const ValueId loss, program.Find("loss"));
  if (!program.value(loss).shape.empty()) return InvalidArgument("'loss' is no scalar");
  return OkStatus();
}

// What a rank does: all programs' warm-up, their blocks in turn, and their blobs one by one.
Status RunRank(const std::vector<Program>& programs,
               const std::map<std::string, ElementSource>& sources, const TrainOptions& options,
               const std::vector<std::vector<Schedule>>& schedules, StopLine& line,
               RankContext& context, std::vector<std::vector<std::string>>& blobs) {
  Pace pace(options.stop, line, context);
  std::vector<std::unique_ptr<RankRun>> runs;
  for (size_t i = 0; i < programs.size(); ++i) {
    runs.push_back(std::make_unique<RankRun>(programs[i], static_cast<int>(i), sources, options,
                                             schedules[i][context.rank()], context, pace));
    TP_RETURN_IF_ERROR(runs[i]->Begin());
  }
  for (int steps : BlockSizes(options.steps, options.blocks)) {
    for (const auto& run : runs) TP_RETURN_IF_ERROR(run->Block(steps, runs.size() > 1));
  }
  for (const auto& run : runs) {
    TP_ASSIGN_OR_RETURN(std::string blob, run->Finish());
    TP_ASSIGN_OR_RETURN(std::vector<std::string> gathered, context.GatherToRoot(std::move(blob)));
    if (context.rank() == 0) blobs.push_back(std::move(gathered));
  }
  return OkStatus();
}

}  // namespace

StatusOr<TrainResult> Train(Backend& backend, const Mesh& mesh, const Program& program,
                            const std::map<std::string, ElementSource>& sources,
                            const TrainOptions& options) {
  TP_ASSIGN_OR_RETURN(std::vector<TrainResult> results,
                      TrainInTurns(backend, mesh, {program}, sources, options));
  return std::move(results.front());
}

StatusOr<std::vector<TrainResult>> TrainInTurns(Backend& backend, const Mesh& mesh,
                                                const std::vector<Program>& programs,
                                                const std::map<std::string, ElementSource>& sources,
                                                const TrainOptions& options) {
  std::vector<std::vector<Schedule>> schedules;
  for (const Program& program : programs) {
    TP_RETURN_IF_ERROR(CheckRequest(program, sources, options));
    TP_RETURN_IF_ERROR(backend.Check(mesh.world(), program.values()[0].dtype));
    TP_ASSIGN_OR_RETURN(std::vector<Schedule> of_ranks,
                        LowerAll(program, mesh, backend.HowToLower()));
    schedules.push_back(std::move(of_ranks));
  }
  StopLine line;
  std::vector<std::vector<std::string>> blobs;  // by program; rank 0's body alone writes it
  TP_RETURN_IF_ERROR(backend.Run(mesh.world(), [&](RankContext& context) {
    return RunRank(programs, sources, options, schedules, line, context, blobs);
  }));
  std::vector<TrainResult> results(programs.size());
  for (size_t i = 0; i < programs.size() && backend.IsRoot(); ++i) {
    results[i] = Unpack(blobs[i], programs[i], mesh, options, std::move(schedules[i]));
  }
  return results;
}

}  // namespace tp
