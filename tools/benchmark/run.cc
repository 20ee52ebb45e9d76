#include "tools/benchmark/run.h"

#include <algorithm>

#include "backends/cpu/backend.h"
#include "backends/nccl/backend.h"
#include "fmt/format.h"
#include "tools/benchmark/watch.h"
#include "tools/io/atomic_file.h"
#include "tools/io/memory.h"
#include "tools/io/npy.h"
#include "tools/io/progress.h"
#include "tools/io/table.h"
#include "tp/model/linear_step.h"
#include "tp/schedule/lower.h"
#include "tp/verify/compare.h"
#include "tp/verify/steps.h"

namespace tp::bench {
namespace {

// What auto spends on the reference, in multiply-adds: a second or two.
constexpr double kAutoMultiplyAdds = 3e9;

verify::Mode VerifyModeOf(LinearMode mode) {
  return mode == LinearMode::kRow ? verify::Mode::kRow : verify::Mode::kColumn;
}

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

// What training with a program holds at once on this machine.
struct HostBytes {
  double at_work = 0;  // the ranks' buffers, and results on their way to rank 0, twice: packed, too
  double results = 0;  // whole tensors
};

StatusOr<HostBytes> HostBytesOf(const Backend& backend, const Program& program, const Mesh& mesh,
                                bool buffers_on_host) {
  HostBytes bytes;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    TP_ASSIGN_OR_RETURN(const Schedule schedule, Lower(program, mesh, rank, backend.HowToLower()));
    for (const Buffer& buffer : schedule.buffers) {
      if (buffers_on_host) bytes.at_work += static_cast<double>(buffer.bytes());
    }
    for (const char* name : {"y", "dx", "dw", "db", "w", "b"}) {
      const Binding& result = schedule.BindingOf(name);
      const auto width = static_cast<double>(SizeOf(result.dtype));
      bytes.at_work += 2 * width * static_cast<double>(result.view.size());
      if (rank == 0) bytes.results += width * static_cast<double>(NumElements(result.shape));
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
  double needed = 0;
  double at_work = 0;  // while a mode trains, or is verified, whichever takes more
  if (verified) {
    // The reference's inputs, and what it works out about each element that it looks at: measured.
    const double whole = options.verify == VerifyMode::kFull ? 0 : 3 * tokens * in * out;
    needed = 8 * elements;
    at_work = 64 * elements * std::min(1.0, kAutoMultiplyAdds / std::max(whole, 1.0));
  }
  for (LinearMode mode : options.modes) {
    TP_ASSIGN_OR_RETURN(const Program program, MakeLinearStep(StepOf(options, mode), mesh));
    TP_ASSIGN_OR_RETURN(const HostBytes bytes,
                        HostBytesOf(backend, program, mesh, options.backend == "sim"));
    at_work = std::max(at_work, bytes.at_work);
    needed += bytes.results;
  }
  // A watched step is with its ranks, on its way to rank 0, and whole.
  if (verified) {
    needed += 3 * WatchedBytes(options) * static_cast<double>(WatchedSteps(options).size());
  }
  return io::CheckFits(
      needed + at_work,
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

StatusOr<ModeResult> RunMode(Backend& backend, const Mesh& mesh, const BenchOptions& options,
                             const TrainingData& data, LinearMode mode) {
  LinearStepOptions step = StepOf(options, mode);
  step.loss_scale = data.problem.loss_scale;
  TP_ASSIGN_OR_RETURN(const Program program, MakeLinearStep(step, mesh));

  TrainOptions train;
  train.warmup = options.warmup;
  train.steps = options.steps;
  train.time_products = options.floor;
  train.profiled_steps = options.profile ? options.steps : 0;
  const bool by_steps = options.verify != VerifyMode::kOff && data.lane == verify::Lane::kBounded;
  if (by_steps) train.watched = WatchedSteps(options);
  io::ProgressBar bar(std::string(Name(mode)), options.warmup + options.steps);
  train.progress = [&bar](int done) { bar.Update(done); };
  TP_ASSIGN_OR_RETURN(TrainResult trained, Train(backend, mesh, program, data.sources, train));

  ModeResult result;
  result.mode = mode;
  if (!backend.IsRoot()) return result;
  TP_ASSIGN_OR_RETURN(result.steps, MakeStepReport(program, mesh, trained));
  for (const RankRecord& rank : trained.ranks) {
    if (options.profile) {
      result.timelines.push_back(MakeTimeline(rank, mesh.world(), options.backend));
    }
  }
  result.ranks = MakeRankReport(trained);
  result.replica_defects = std::move(trained.replica_defects);
  const std::vector<verify::ObservedStep> steps = TakeWatched(trained);
  result.observed.y = std::move(trained.first.at("y"));
  result.observed.dx = std::move(trained.first.at("dx"));
  result.observed.dw = std::move(trained.first.at("dw"));
  result.observed.db = std::move(trained.first.at("db"));
  result.observed.w = std::move(trained.last.at("w"));
  result.observed.b = std::move(trained.last.at("b"));
  result.observed.losses = std::move(trained.losses);
  if (options.verify == VerifyMode::kOff) return result;
  TP_ASSIGN_OR_RETURN(result.equivalence,
                      verify::VerifyLinear(data.problem, result.observed, ModelOf(options, mode),
                                           VerifyOptionsOf(options, data.lane)));
  if (steps.empty()) return result;
  TP_ASSIGN_OR_RETURN(result.step_by_step,
                      verify::VerifySteps(data.problem, steps, ModelOf(options, mode),
                                          VerifyOptionsOf(options, data.lane).sample));
  return result;
}

}  // namespace

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
      options.backend == "nccl" && options.sum_order == SumOrder::kFast &&
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
    if (!mode.steps.bytes_ok || !mode.replica_defects.empty()) return verify::Outcome::kFail;
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

StatusOr<BenchResult> RunBench(Backend& backend, const BenchOptions& options) {
  TP_RETURN_IF_ERROR(CheckRun(backend, options));
  TP_ASSIGN_OR_RETURN(const TrainingData data, MakeData(options));
  return RunBench(backend, options, data);
}

StatusOr<BenchResult> RunBench(Backend& backend, const BenchOptions& options,
                               const TrainingData& data) {
  TP_RETURN_IF_ERROR(CheckRun(backend, options));
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(options.tp, options.dp));
  BenchResult result;
  result.host = backend.Describe();
  for (LinearMode mode : options.modes) {
    TP_ASSIGN_OR_RETURN(ModeResult mode_result, RunMode(backend, mesh, options, data, mode));
    if (backend.IsRoot()) result.modes.push_back(std::move(mode_result));
  }
  if (result.modes.size() == 2 && options.verify != VerifyMode::kOff) {
    const auto named = [&](const ModeResult& mode) {
      return verify::NamedRun{std::string(Name(mode.mode)), &mode.observed,
                              ModelOf(options, mode.mode)};
    };
    TP_ASSIGN_OR_RETURN(
        result.between_modes,
        verify::CompareRuns(data.problem, named(result.modes[0]), named(result.modes[1]),
                            VerifyOptionsOf(options, data.lane)));
  }
  return result;
}

Status DumpTensors(const BenchOptions& options, const BenchResult& result) {
  for (const ModeResult& mode : result.modes) {
    const std::string folder = fmt::format("{}/{}", options.dump, Name(mode.mode));
    TP_RETURN_IF_ERROR(io::CreateDirectories(folder));
    const verify::Observed& observed = mode.observed;
    HostTensor losses({static_cast<int64_t>(observed.losses.size())}, DType::kFloat64);
    EncodeFromDouble(DType::kFloat64, observed.losses, losses.bytes());
    const std::pair<const char*, const HostTensor*> tensors[] = {
        {"y", &observed.y}, {"dx", &observed.dx}, {"dw", &observed.dw}, {"db", &observed.db},
        {"w", &observed.w}, {"b", &observed.b},   {"losses", &losses}};
    for (const auto& [name, tensor] : tensors) {
      TP_RETURN_IF_ERROR(io::WriteNpy(fmt::format("{}/{}.npy", folder, name), *tensor));
    }
  }
  return OkStatus();
}

}  // namespace tp::bench
