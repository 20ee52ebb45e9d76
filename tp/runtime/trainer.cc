#include "tp/runtime/trainer.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "tp/core/clock.h"
#include "tp/runtime/assemble.h"
#include "tp/runtime/blob.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

constexpr int kTimedOpSteps = 5;  // extra steps where timing the ops slows them down

bool IsSource(const Program& program, const Binding& binding) {
  return program.ops()[program.DefinitionOf(binding.value)].IsSource();
}

bool IsParameter(const Program& program, const Binding& binding) {
  return program.ops()[program.DefinitionOf(binding.value)].Is(kParameter);
}

// Whether it is among the parameters, or among the results that are no scalars.
bool IsWanted(const Program& program, const Binding& binding, bool parameters) {
  if (parameters) return IsParameter(program, binding);
  return !IsSource(program, binding) && !binding.shape.empty();
}

// The training run of one rank, from its schedule to the blob that rank 0 reads.
class RankRun {
 public:
  RankRun(const Program& program, const std::map<std::string, ElementSource>& sources,
          const TrainOptions& options, const Schedule& schedule, RankContext& context)
      : program_(program),
        sources_(sources),
        options_(options),
        schedule_(schedule),
        context_(context) {}

  StatusOr<std::string> Run() {
    TP_ASSIGN_OR_RETURN(executor_, context_.MakeExecutor(schedule_));
    TP_RETURN_IF_ERROR(Feed());
    for (int step = 0; step < options_.warmup + options_.steps; ++step) {
      const bool watched =
          std::binary_search(options_.watched.begin(), options_.watched.end(), step);
      if (watched) TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/true, watched_.emplace_back()));
      TP_RETURN_IF_ERROR(Step());
      losses_.push_back(0);
      TP_RETURN_IF_ERROR(ReadLoss());
      if (step >= options_.warmup) steps_.push_back(executor_->LastStep());
      if (step == 0) TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/false, first_));
      if (watched) {
        TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/false, watched_.emplace_back()));
        TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/true, watched_.emplace_back()));
      }
      if (options_.progress && context_.rank() == 0) options_.progress(step + 1);
    }
    TP_RETURN_IF_ERROR(ReadParts(/*parameters=*/true, last_));
    if (options_.profiled_steps > 0) TP_RETURN_IF_ERROR(ProfileSteps());
    if (executor_->OpTimesAreFree()) {
      op_steps_ = steps_;
    } else {
      executor_->TimeOps(true);
      for (int step = 0; step <= kTimedOpSteps; ++step) {
        TP_RETURN_IF_ERROR(Step());
        if (step > 0) op_steps_.push_back(executor_->LastStep());
      }
      executor_->TimeOps(false);
    }
    for (int step = 0; options_.time_products && step < options_.warmup + options_.steps; ++step) {
      TP_RETURN_IF_ERROR(Step(StepKind::kProductsOnly));
      if (step >= options_.warmup) products_.push_back(executor_->LastStep());
    }
    return Pack();
  }

 private:
  Status Step(StepKind kind = StepKind::kWhole) {
    if (kind == StepKind::kWhole) ++whole_steps_;
    TP_RETURN_IF_ERROR(context_.Barrier());
    TP_RETURN_IF_ERROR(executor_->EnqueueStep(kind));
    return executor_->Synchronize();
  }

  StatusOr<ProfiledStep> StepOnTheClock() {
    ProfiledStep step;
    step.number = whole_steps_++;
    step.arrived_ns = SteadyNanoseconds();
    TP_RETURN_IF_ERROR(context_.Barrier());
    step.released_ns = SteadyNanoseconds();
    TP_RETURN_IF_ERROR(executor_->EnqueueStep(StepKind::kWhole));
    step.handed_over_ns = SteadyNanoseconds();
    TP_RETURN_IF_ERROR(executor_->Synchronize());
    step.synchronized_ns = SteadyNanoseconds();
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
  const std::map<std::string, ElementSource>& sources_;
  const TrainOptions& options_;
  const Schedule& schedule_;
  RankContext& context_;
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

std::vector<StepRecord> UnpackSteps(BlobReader& blob) {
  std::vector<StepRecord> steps(blob.Int());
  for (StepRecord& step : steps) step = UnpackStep(blob);
  return steps;
}

// The parts of each rank, by binding.
using Parts = std::vector<std::vector<std::span<const std::byte>>>;

// Assembles the parameters, or the results.
std::map<std::string, HostTensor> AssembleAll(const std::vector<RankRecord>& ranks,
                                              const Parts& parts, const Program& program,
                                              const Mesh& mesh, bool parameters,
                                              std::vector<std::string>& defects) {
  std::map<std::string, HostTensor> tensors;
  for (size_t i = 0; i < ranks[0].schedule.bindings.size(); ++i) {
    if (!IsWanted(program, ranks[0].schedule.bindings[i], parameters)) continue;
    std::vector<const Binding*> bindings;
    std::vector<std::span<const std::byte>> of_binding;
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      bindings.push_back(&ranks[rank].schedule.bindings[i]);
      of_binding.push_back(parts[rank][i]);
    }
    tensors[bindings[0]->name] = Assemble(bindings, of_binding, mesh, defects);
  }
  return tensors;
}

// Of one watched step, whose parts are the three from `parts` on.
WatchedStep AssembleWatched(int step, const Parts* parts, const Program& program, const Mesh& mesh,
                            TrainResult& result) {
  std::vector<std::string> defects;
  WatchedStep watched;
  watched.step = step;
  watched.before = AssembleAll(result.ranks, parts[0], program, mesh, true, defects);
  watched.results = AssembleAll(result.ranks, parts[1], program, mesh, false, defects);
  watched.after = AssembleAll(result.ranks, parts[2], program, mesh, true, defects);
  for (const std::string& defect : defects) {
    result.replica_defects.push_back(defect + ", in step " + std::to_string(step));
  }
  return watched;
}

TrainResult Unpack(const std::vector<std::string>& blobs, const Program& program, const Mesh& mesh,
                   const TrainOptions& options, std::vector<Schedule> schedules) {
  TrainResult result;
  result.losses.resize(options.warmup + options.steps);
  // Of the first step, the last, and three for each watched one.
  std::vector<Parts> parts(2 + 3 * options.watched.size(), Parts(blobs.size()));
  for (size_t rank = 0; rank < blobs.size(); ++rank) {
    BlobReader blob(blobs[rank]);
    RankRecord record;
    record.schedule = std::move(schedules[rank]);
    const Binding& loss = record.schedule.BindingOf("loss");
    bool counts = true;  // a replica's loss is the same number again
    for (Axis axis : kAllAxes) {
      const int coordinate = mesh.Coordinate(static_cast<int>(rank), axis);
      if (IsReplicate(loss.placements[axis]) && coordinate > 0) counts = false;
    }
    for (double& total : result.losses) {
      const double share = blob.Double();
      if (counts) total += share;
    }
    for (Parts& of_all : parts) {
      for (size_t i = 0; i < record.schedule.bindings.size(); ++i) {
        of_all[rank].push_back(blob.Bytes());
      }
    }
    record.steps = UnpackSteps(blob);
    record.op_steps = UnpackSteps(blob);
    record.products = UnpackSteps(blob);
    record.profiled = UnpackSteps(blob);
    record.profile = UnpackProfile(blob);
    for (size_t i = 0; i < record.schedule.ops.size(); ++i) {
      record.algorithms.push_back(blob.Text());
      record.expected_bytes.push_back(blob.Int());
    }
    result.ranks.push_back(std::move(record));
  }
  result.first = AssembleAll(result.ranks, parts[0], program, mesh, false, result.replica_defects);
  result.last = AssembleAll(result.ranks, parts[1], program, mesh, true, result.replica_defects);
  for (size_t i = 0; i < options.watched.size(); ++i) {
    result.watched.push_back(
        AssembleWatched(options.watched[i], &parts[2 + 3 * i], program, mesh, result));
  }
  return result;
}

Status CheckRequest(const Program& program, const std::map<std::string, ElementSource>& sources,
                    const TrainOptions& options) {
  TP_RETURN_IF_ERROR(Verify(program));
  if (options.warmup < 0 || options.steps < 1) {
    return InvalidArgument(
        "training takes 0 or more warm-up steps and at least 1 timed step, not " +
        std::to_string(options.warmup) + " and " + std::to_string(options.steps));
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

}  // namespace

StatusOr<TrainResult> Train(Backend& backend, const Mesh& mesh, const Program& program,
                            const std::map<std::string, ElementSource>& sources,
                            const TrainOptions& options) {
  TP_RETURN_IF_ERROR(CheckRequest(program, sources, options));
  TP_RETURN_IF_ERROR(backend.Check(mesh.world(), program.values()[0].dtype));
  std::vector<Schedule> schedules;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    TP_ASSIGN_OR_RETURN(Schedule schedule, Lower(program, mesh, rank, backend.HowToLower()));
    schedules.push_back(std::move(schedule));
  }
  std::vector<std::string> blobs;  // rank 0's body alone writes it
  TP_RETURN_IF_ERROR(backend.Run(mesh.world(), [&](RankContext& context) -> Status {
    RankRun run(program, sources, options, schedules[context.rank()], context);
    TP_ASSIGN_OR_RETURN(std::string blob, run.Run());
    TP_ASSIGN_OR_RETURN(std::vector<std::string> gathered, context.GatherToRoot(std::move(blob)));
    if (context.rank() == 0) blobs = std::move(gathered);
    return OkStatus();
  }));
  if (!backend.IsRoot()) return TrainResult{};
  return Unpack(blobs, program, mesh, options, std::move(schedules));
}

}  // namespace tp
