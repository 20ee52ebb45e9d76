#include "tools/measure/train.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "tools/measure/pace.h"
#include "tools/measure/unpack.h"
#include "tp/core/dtype.h"
#include "tp/core/numbers.h"
#include "tp/runtime/blob.h"
#include "tp/runtime/session.h"

namespace tp {
namespace {

constexpr int kTimedOpSteps = 5;  // extra steps where timing the ops slows them down

// The training run of one rank and session, to the blob that rank 0 reads.
class RankRun {
 public:
  RankRun(const Session& session, int number, const std::map<std::string, ElementSource>& sources,
          const TrainOptions& options, LocalRank& rank, Pace& pace)
      : program_(session.program()),
        number_(number),
        sources_(sources),
        options_(options),
        schedule_(session.ScheduleOn(rank)),
        executor_(session.ExecutorOn(rank)),
        context_(rank.context),
        pace_(pace) {}

  Status Begin() {
    TP_RETURN_IF_ERROR(WriteSources());
    return TrainSteps(options_.warmup);
  }

  // A block of the timed steps. `disturbed`: others ran since the last one.
  Status Block(int steps, bool disturbed) {
    if (disturbed && done_ > 0) {
      TP_RETURN_IF_ERROR(PacedStep(StepKind::kProductsOnly).status());
    }
    TP_RETURN_IF_ERROR(TrainSteps(steps));
    for (int step = 0; options_.time_products && step < steps; ++step) {
      TP_ASSIGN_OR_RETURN(const bool done, PacedStep(StepKind::kProductsOnly));
      if (!done) return OkStatus();
      products_.push_back(executor_.LastStep());
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
    if (executor_.OpTimesAreFree()) {
      op_steps_ = steps_;
    } else if (!steps_.empty()) {
      executor_.TimeOps(true);
      for (int step = 0; step <= kTimedOpSteps; ++step) {
        TP_RETURN_IF_ERROR(context_.Barrier());
        TP_RETURN_IF_ERROR(RunStep(StepKind::kWhole));
        if (step > 0) op_steps_.push_back(executor_.LastStep());
      }
      executor_.TimeOps(false);
    }
    return Pack();
  }

 private:
  Status TrainSteps(int steps) {
    for (int i = 0; i < steps; ++i) {
      const int step = done_;
      const bool watched =
          std::binary_search(options_.watched.begin(), options_.watched.end(), step);
      if (watched) TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/true, watched_.emplace_back()));
      TP_ASSIGN_OR_RETURN(const bool done, PacedStep(StepKind::kWhole));
      if (!done) return OkStatus();
      ++done_;
      if (HasLoss(program_)) TP_RETURN_IF_ERROR(ReadLoss());
      if (step >= options_.warmup) steps_.push_back(executor_.LastStep());
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
    TP_RETURN_IF_ERROR(executor_.EnqueueStep(kind));
    return executor_.Synchronize();
  }

  StatusOr<ProfiledStep> StepOnTheClock() {
    ProfiledStep step;
    step.number = whole_steps_++;
    step.arrived_ns = context_.clock().NowNs();
    TP_RETURN_IF_ERROR(context_.Barrier());
    step.released_ns = context_.clock().NowNs();
    TP_RETURN_IF_ERROR(executor_.EnqueueStep(StepKind::kWhole));
    step.handed_over_ns = context_.clock().NowNs();
    TP_RETURN_IF_ERROR(executor_.Synchronize());
    step.synchronized_ns = context_.clock().NowNs();
    TP_ASSIGN_OR_RETURN(step.record, executor_.CollectProfile());
    return step;
  }

  Status ProfileSteps() {
    profile_ = MakeRankProfile(executor_.Device());
    TP_RETURN_IF_ERROR(executor_.Profile(true));
    for (int i = 0; i <= options_.profiled_steps; ++i) {
      TP_ASSIGN_OR_RETURN(ProfiledStep step, StepOnTheClock());
      if (i == 0) continue;  // pays for what a profiler sets up on first use
      profiled_.push_back({step.record.begin_ns, step.record.end_ns, {}, {}});
      if (i > options_.profiled_steps - kTracedSteps) profile_.steps.push_back(std::move(step));
    }
    return executor_.Profile(false);
  }

  // Inputs too: every step has the same, and none is to hold the time of copying them.
  Status WriteSources() {
    for (const Binding& binding : schedule_.bindings) {
      if (RoleOf(program_, binding) == Role::kResult) continue;
      const ElementSource& source = sources_.at(binding.name);
      if (IsKnownZero(source)) continue;  // as buffers are at first
      TP_RETURN_IF_ERROR(WritePart(executor_, schedule_, binding, FillFrom(source)));
    }
    return OkStatus();
  }

  Status ReadLoss() {
    const Binding& loss = schedule_.BindingOf("loss");
    std::byte image[sizeof(double)] = {};
    const std::span<std::byte> bytes(image, schedule_.buffers[loss.view.buffer].bytes());
    TP_RETURN_IF_ERROR(executor_.Read(loss.view.buffer, bytes));
    DecodeToDouble(loss.dtype, bytes, std::span(&losses_.emplace_back(), 1));
    return OkStatus();
  }

  Status ReadParts(bool parameters, std::vector<std::vector<std::byte>>& parts) {
    for (const Binding& binding : schedule_.bindings) {
      parts.emplace_back();
      if (!options_.tensors || !IsWanted(program_, binding, parameters)) continue;
      TP_ASSIGN_OR_RETURN(parts.back(), ReadPart(executor_, schedule_, binding));
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
    blob.Number(int64_t{done_});
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
    const AllocatedMemory allocated = executor_.Allocated();
    blob.Number(allocated.buffers);
    blob.Number(allocated.scratch);
    for (size_t i = 0; i < schedule_.ops.size(); ++i) {
      const bool collective = schedule_.ops[i].action == Action::kCollective;
      const int index = static_cast<int>(i);
      blob.Text(collective ? executor_.AlgorithmOf(index) : std::string());
      blob.Number(collective ? executor_.ExpectedBytes(index) : int64_t{0});
    }
    return blob.Take();
  }

  const Program& program_;
  const int number_;
  const std::map<std::string, ElementSource>& sources_;
  const TrainOptions& options_;
  const Schedule& schedule_;
  Executor& executor_;
  RankContext& context_;
  Pace& pace_;
  int done_ = 0;  // steps of training
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
  if (!HasLoss(program) || program.value(*program.Find("loss")).shape.empty()) return OkStatus();
  return InvalidArgument("'loss' is no scalar");
}

using Sessions = std::vector<std::unique_ptr<Session>>;

// What a rank does: all programs' warm-up, their blocks in turn, and their blobs one by one.
Status RunRank(const Sessions& sessions, const std::map<std::string, ElementSource>& sources,
               const TrainOptions& options, StopLine& line, LocalRank& rank,
               std::vector<std::vector<std::string>>& blobs) {
  Pace pace(options.stop, line, rank.context);
  std::vector<std::unique_ptr<RankRun>> runs;
  for (size_t i = 0; i < sessions.size(); ++i) {
    runs.push_back(
        std::make_unique<RankRun>(*sessions[i], static_cast<int>(i), sources, options, rank, pace));
    TP_RETURN_IF_ERROR(runs[i]->Begin());
  }
  for (int steps : BlockSizes(options.steps, options.blocks)) {
    for (const auto& run : runs) TP_RETURN_IF_ERROR(run->Block(steps, runs.size() > 1));
  }
  for (const auto& run : runs) {
    TP_ASSIGN_OR_RETURN(std::string blob, run->Finish());
    TP_ASSIGN_OR_RETURN(std::vector<std::string> gathered,
                        rank.context.GatherToRoot(std::move(blob)));
    if (rank.context.rank() == 0) blobs.push_back(std::move(gathered));
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
  for (const Program& program : programs) {
    TP_RETURN_IF_ERROR(CheckRequest(program, sources, options));
  }
  TP_ASSIGN_OR_RETURN(const Sessions sessions, Session::CreateAll(backend, mesh, programs));
  StopLine line;
  std::vector<std::vector<std::string>> blobs;  // by program; rank 0's thread alone writes it
  TP_RETURN_IF_ERROR(sessions[0]->OnEachRank(
      [&](LocalRank& rank) { return RunRank(sessions, sources, options, line, rank, blobs); }));
  std::vector<TrainResult> results(programs.size());
  for (size_t i = 0; i < programs.size() && backend.IsRoot(); ++i) {
    results[i] = Unpack(blobs[i], programs[i], mesh, options, sessions[i]->schedules());
  }
  return results;
}

}  // namespace tp
