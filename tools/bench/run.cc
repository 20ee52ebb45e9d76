#include "tools/bench/run.h"

#include <algorithm>
#include <string_view>

#include "backends/cpu/backend.h"
#include "backends/nccl/backend.h"
#include "fmt/format.h"
#include "tools/bench/extra_runs.h"
#include "tools/bench/watch.h"
#include "tools/io/interrupt.h"
#include "tools/io/memory.h"
#include "tools/io/table.h"
#include "tools/measure/pace.h"
#include "tp/model/linear_step.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"
#include "tp/verify/compare.h"
#include "tp/verify/steps.h"

namespace tp::bench {
namespace {

// What auto spends on the reference, in multiply-adds: a second or two.
constexpr double kAutoMultiplyAdds = 3e9;

verify::Mode VerifyModeOf(LinearMode mode) {
  return mode == LinearMode::kRow ? verify::Mode::kRow : verify::Mode::kColumn;
}

// What training with a program holds at once on this machine.
struct HostBytes {
  double at_work = 0;  // the ranks' buffers, and what is on its way to rank 0, twice: packed, too
  double results = 0;  // whole tensors, of the first and last step
  double watched = 0;  // the same, of the watched steps
};

// Every rank hands on its part of each result, a replica too, and of a watched step the parameters
// before and after it.
StatusOr<HostBytes> HostBytesOf(const Backend& backend, const Program& program, const Mesh& mesh,
                                bool buffers_on_host, size_t watched_steps) {
  HostBytes bytes;
  TP_ASSIGN_OR_RETURN(const std::vector<Schedule> schedules,
                      LowerAll(program, mesh, backend.HowToLower()));
  const auto watched = static_cast<double>(watched_steps);
  for (const Schedule& schedule : schedules) {
    if (buffers_on_host) bytes.at_work += static_cast<double>(ArenaOf(schedule).bytes);
    for (const char* name : {"y", "dx", "dw", "db", "w", "b"}) {
      const Binding& result = schedule.BindingOf(name);
      const auto width = static_cast<double>(SizeOf(result.dtype));
      const bool parameter = std::string_view(name) == "w" || std::string_view(name) == "b";
      const double of_watched = watched * (parameter ? 2 : 1);
      bytes.at_work += 2 * (1 + of_watched) * width * static_cast<double>(result.view.size());
      if (schedule.rank != 0) continue;
      const double whole = width * static_cast<double>(NumElements(result.shape));
      bytes.results += whole;
      bytes.watched += of_watched * whole;
    }
  }
  return bytes;
}

// Refuses what cannot fit, before anything is allocated. Both modes' results are kept to the end.
Status CheckMemory(const Backend& backend, const Mesh& mesh, const BenchOptions& options) {
  const auto tokens = static_cast<double>(options.tokens);
  const auto in = static_cast<double>(options.in_features);
  const auto out = static_cast<double>(options.out_features);
  const double elements = tokens * in + tokens * out + in * out;
  const bool verified = options.verify != VerifyMode::kOff;
  double reference = 0;  // its inputs
  double expected = 0;   // what it works out about each element that it looks at: measured
  HostBytes training;    // of all modes, which train in turns
  if (options.backend == "sim") training.at_work = io::kBytesOfARanksThreads * mesh.world();
  if (verified) {
    const double whole = options.verify == VerifyMode::kFull ? 0 : 3 * tokens * in * out;
    reference = 8 * elements;
    expected = 64 * elements * std::min(1.0, kAutoMultiplyAdds / std::max(whole, 1.0));
  }
  for (LinearMode mode : options.modes) {
    TP_ASSIGN_OR_RETURN(const Program program, MakeLinearStep(StepOf(options, mode), mesh));
    TP_ASSIGN_OR_RETURN(const HostBytes bytes,
                        HostBytesOf(backend, program, mesh, options.backend == "sim",
                                    verified ? WatchedSteps(options).size() : 0));
    training.at_work += bytes.at_work;
    training.results += bytes.results;
    training.watched += bytes.watched;
  }
  // While they train; while one is verified; while they are compared, each with its own bounds.
  const double compared = options.modes.size() > 1 ? 2 * expected : 0;
  const double most =
      std::max({training.watched + training.at_work, training.watched + expected, compared});
  return io::CheckFits(
      reference + training.results + most,
      fmt::format("{} tokens x {} -> {} features in {} on {} ranks", options.tokens,
                  options.in_features, options.out_features, Name(options.dtype), mesh.world()),
      verified ? "take smaller sizes, or --verify=off" : "take smaller sizes");
}

// What this backend or machine can't do, and what nobody can.
Status CheckRun(const Backend& backend, const BenchOptions& options) {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(options.tp, options.dp));
  TP_RETURN_IF_ERROR(backend.Check(mesh.world(), options.dtype));
  return CheckMemory(backend, mesh, options);
}

// Ends training after the step at hand; empty where the run takes no notice of signals.
std::function<bool()> StopOf(const RunHooks& hooks) {
  if (!hooks.interrupted) return nullptr;
  return [] { return io::Interrupt::Signal() != 0; };
}

std::string LabelOf(const BenchOptions& options, const TrainProgress& at) {
  return fmt::format("{}: {}", Name(options.modes[at.program]),
                     at.products ? "matrix products alone" : "steps");
}

// In how many pairs of blocks the modes are compared: six are enough for a bounded interval.
int BlocksOf(const BenchOptions& options) {
  constexpr int kMostBlocks = 10;
  return options.modes.size() > 1 ? std::min(options.steps, kMostBlocks) : 1;
}

StatusOr<std::vector<TrainResult>> TrainModes(Backend& backend, const Mesh& mesh,
                                              const BenchOptions& options, const TrainingData& data,
                                              const std::vector<Program>& programs,
                                              const RunHooks& hooks, BenchResult& result) {
  TrainOptions train;
  train.warmup = options.warmup;
  train.steps = options.steps;
  train.blocks = BlocksOf(options);
  train.time_products = options.floor;
  train.profiled_steps = options.profile ? options.steps : 0;
  const bool by_steps = options.verify != VerifyMode::kOff && data.lane == verify::Lane::kBounded;
  if (by_steps) train.watched = WatchedSteps(options);
  train.stop = StopOf(hooks);
  const int64_t of_mode = options.warmup + int64_t{options.steps} * (options.floor ? 2 : 1);
  io::ProgressStage stage(hooks.progress, "training",
                          of_mode * static_cast<int64_t>(programs.size()));
  int64_t done = 0;
  // Large tensors take minutes to write, and before the first step there is nothing to lose.
  auto before_first = io::ExitWith(result, hooks.interrupted);
  train.progress = [&](const TrainProgress& at) {
    before_first.reset();
    if (hooks.progress != nullptr) hooks.progress->Update(LabelOf(options, at), ++done);
  };
  return TrainInTurns(backend, mesh, programs, data.sources, train);
}

StatusOr<ModeResult> MakeModeResult(const BenchOptions& options, const Mesh& mesh, LinearMode mode,
                                    const Program& program, TrainResult trained) {
  ModeResult result;
  TP_ASSIGN_OR_RETURN(static_cast<MeasuredStep&>(result),
                      MakeMeasuredStep(options.backend, mesh, program, trained));
  result.mode = mode;
  result.watched = TakeWatched(trained);
  result.observed.y = std::move(trained.first.at("y"));
  result.observed.dx = std::move(trained.first.at("dx"));
  result.observed.dw = std::move(trained.first.at("dw"));
  result.observed.db = std::move(trained.first.at("db"));
  result.observed.w = std::move(trained.last.at("w"));
  result.observed.b = std::move(trained.last.at("b"));
  result.observed.losses = std::move(trained.losses);
  return result;
}

// Runs `work`, which must not touch `result`, under io::ExitWith.
template <typename Work>
auto Interruptibly(const RunHooks& hooks, BenchResult& result, const Work& work) {
  const auto guard = io::ExitWith(result, hooks.interrupted);
  return work();
}

// Each watched step, from the weights that it started with.
Status VerifyStepByStep(const BenchOptions& options, const TrainingData& data,
                        const RunHooks& hooks, BenchResult& result, ModeResult& mode) {
  const std::vector<verify::ObservedStep> steps = std::move(mode.watched);
  mode.watched.clear();
  if (steps.empty()) return OkStatus();
  StatusOr<verify::Report> report = Interruptibly(hooks, result, [&] {
    return verify::VerifySteps(data.problem, steps, ModelOf(options, mode.mode),
                               VerifyOptionsOf(options, data.lane).sample);
  });
  TP_ASSIGN_OR_RETURN(mode.step_by_step, std::move(report));
  return OkStatus();
}

Status VerifyModes(const BenchOptions& options, const TrainingData& data, const RunHooks& hooks,
                   BenchResult& result) {
  const bool verified = options.verify != VerifyMode::kOff && result.complete;
  for (ModeResult& mode : result.modes) {
    if (verified) {
      io::ProgressStage stage(hooks.progress, fmt::format("{}: verification", Name(mode.mode)));
      StatusOr<verify::Report> report = Interruptibly(hooks, result, [&] {
        return verify::VerifyLinear(data.problem, mode.observed, ModelOf(options, mode.mode),
                                    VerifyOptionsOf(options, data.lane));
      });
      TP_ASSIGN_OR_RETURN(mode.equivalence, std::move(report));
      TP_RETURN_IF_ERROR(VerifyStepByStep(options, data, hooks, result, mode));
    }
    if (hooks.mode_done) hooks.mode_done(result, mode);
  }
  if (!verified || result.modes.size() != 2) return OkStatus();
  const auto named = [&](const ModeResult& mode) {
    return verify::NamedRun{std::string(Name(mode.mode)), &mode.observed,
                            ModelOf(options, mode.mode)};
  };
  io::ProgressStage stage(hooks.progress, "row against column: verification");
  StatusOr<verify::Report> report = Interruptibly(hooks, result, [&] {
    return verify::CompareRuns(data.problem, named(result.modes[0]), named(result.modes[1]),
                               VerifyOptionsOf(options, data.lane));
  });
  TP_ASSIGN_OR_RETURN(result.between_modes, std::move(report));
  return OkStatus();
}

// What is left where everything was checked and is at hand.
StatusOr<BenchResult> Run(Backend& backend, const BenchOptions& options, const TrainingData& data,
                          const RunHooks& hooks) {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(options.tp, options.dp));
  std::vector<Program> programs;
  for (LinearMode mode : options.modes) {
    LinearStepOptions step = StepOf(options, mode);
    step.loss_scale = data.problem.loss_scale;
    TP_ASSIGN_OR_RETURN(Program program, MakeLinearStep(step, mesh));
    programs.push_back(std::move(program));
  }
  BenchResult result;
  result.host = backend.Describe();
  const std::function<bool()> stop = StopOf(hooks);
  if (hooks.started && backend.IsRoot()) hooks.started(result);
  if (options.peak) {
    io::ProgressStage stage(hooks.progress, "the machine's peak");
    TP_ASSIGN_OR_RETURN(result.peak, MeasurePeak(backend, options, FlopsPerStep(options), stop));
  }
  TP_ASSIGN_OR_RETURN(std::vector<TrainResult> trained,
                      TrainModes(backend, mesh, options, data, programs, hooks, result));
  if (options.speedup) {
    io::ProgressStage stage(hooks.progress, "tp 1: steps");
    TP_ASSIGN_OR_RETURN(result.tp1, TimeWithTp1(backend, options, data, stop));
    result.complete = result.tp1.has_value() || !backend.IsRoot();
  }
  if (!backend.IsRoot()) return result;
  for (size_t i = 0; i < programs.size(); ++i) {
    result.complete = result.complete && trained[i].complete;
    if (trained[i].ranks[0].steps.empty()) continue;
    TP_ASSIGN_OR_RETURN(ModeResult mode, MakeModeResult(options, mesh, options.modes[i],
                                                        programs[i], std::move(trained[i])));
    result.modes.push_back(std::move(mode));
  }
  if (result.peak) {
    // No lower than the run's own products were: others may have disturbed its measurement.
    for (const ModeResult& mode : result.modes) {
      if (!mode.steps.products) continue;
      const double own = FlopsPerStep(options) / (mode.steps.products->min / 1e3);
      result.peak = std::max(*result.peak, own);
    }
  }
  if (result.modes.size() == 2) {
    const std::vector<double> ratios =
        BlockRatios(result.modes[0].steps.step_ms, result.modes[1].steps.step_ms,
                    BlockSizes(options.steps, BlocksOf(options)));
    result.ratio_blocks = ratios.size();
    if (!ratios.empty()) result.ratio = MedianInterval(ratios);
  }
  TP_RETURN_IF_ERROR(VerifyModes(options, data, hooks, result));
  return result;
}

}  // namespace

LinearStepOptions StepOf(const BenchOptions& options, LinearMode mode) {
  LinearStepOptions step;
  step.mode = mode;
  step.tokens = options.tokens;
  step.in_features = options.in_features;
  step.out_features = options.out_features;
  step.dtype = options.dtype;
  step.learning_rate = options.learning_rate;
  step.sum_order = options.sum_order;
  return step;
}

verify::VerifyOptions VerifyOptionsOf(const BenchOptions& options, verify::Lane lane) {
  verify::VerifyOptions verify_options;
  verify_options.lane = lane;
  verify_options.sample.full = options.verify == VerifyMode::kFull;
  verify_options.sample.max_multiply_adds = kAutoMultiplyAdds;
  verify_options.sample.seed = options.seed;
  return verify_options;
}

verify::NumericModel ModelOf(const BenchOptions& options, LinearMode mode) {
  verify::NumericModel model =
      verify::MakeModel(options.dtype, VerifyModeOf(mode), options.tp, options.dp);
  const bool matrix_units =
      options.backend == "nccl" && (options.sum_order == SumOrder::kFast || options.tensor_cores) &&
      (options.tf32 || (options.dtype != DType::kFloat64 && options.dtype != DType::kFloat32));
  if (matrix_units) {
    model.accumulator_roundoff = verify::kTensorCoreRoundoff;
    model.probabilistic = false;
  }
  if (options.tf32) model.operand_roundoff = verify::kTf32Roundoff;
  model.sum_order = options.sum_order;
  return model;
}

verify::Outcome BenchResult::outcome() const {
  verify::Outcome gravest = verify::Outcome::kOk;
  const auto add = [&](const std::optional<verify::Report>& report) {
    if (report) gravest = Worse(gravest, report->outcome());
  };
  for (const ModeResult& mode : modes) {
    if (!mode.ok()) return verify::Outcome::kFail;
    add(mode.equivalence);
    add(mode.step_by_step);
  }
  add(between_modes);
  return gravest;
}

double FlopsPerStep(const BenchOptions& options) {
  return 6.0 * static_cast<double>(options.tokens) * static_cast<double>(options.in_features) *
         static_cast<double>(options.out_features);
}

StatusOr<std::unique_ptr<Backend>> MakeBackend(const BenchOptions& options) {
  if (options.backend == "nccl") {
    nccl::Options nccl_options;
    nccl_options.deadline = options.deadline;
    nccl_options.graph = options.graph;
    nccl_options.gemm_search = options.gemm_search;
    nccl_options.tensor_cores = options.tensor_cores;
    nccl_options.tf32 = options.tf32;
    nccl_options.peers = options.peers;
    if (options.sum_part_bytes >= 0) nccl_options.lower.sum_part_bytes = options.sum_part_bytes;
    return nccl::MakeBackend(nccl_options);
  }
  cpu::CpuBackendOptions cpu_options;
  cpu_options.deadline = options.deadline;
  cpu_options.scheduler = options.seeded ? cpu::SchedulerKind::kSeeded : cpu::SchedulerKind::kFree;
  cpu_options.scheduler_seed = options.scheduler_seed;
  cpu_options.all_reduce = options.algorithm;
  if (options.sum_part_bytes >= 0) cpu_options.lower.sum_part_bytes = options.sum_part_bytes;
  return cpu::MakeCpuBackend(cpu_options);
}

void FillDefaults(const Backend& backend, BenchOptions& options) {
  if (options.tp == 0) options.tp = backend.DefaultTp(options.dp);
}

StatusOr<BenchResult> RunBench(Backend& backend, const BenchOptions& options,
                               const RunHooks& hooks) {
  TP_RETURN_IF_ERROR(CheckRun(backend, options));
  TP_ASSIGN_OR_RETURN(const TrainingData data, MakeData(options));
  // Until here there is nothing to tell, and a signal ends the process as it always does.
  std::optional<io::Interrupt> interrupt;
  if (hooks.interrupted) interrupt.emplace();
  return Run(backend, options, data, hooks);
}

StatusOr<BenchResult> RunBench(Backend& backend, const BenchOptions& options,
                               const TrainingData& data) {
  TP_RETURN_IF_ERROR(CheckRun(backend, options));
  return Run(backend, options, data, /*hooks=*/{});
}

}  // namespace tp::bench
