#include "tools/predict/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <span>
#include <thread>

#include "backends/predict/collective_timer.h"
#include "tp/model/linear_step.h"
#include "tp/model/presets.h"

namespace tp::predict_tool {
namespace {

constexpr int64_t kSweepBatch = 128;

// What the order of ops is chosen by.
MachineRates RatesOf(const sim::Machine& machine, DType dtype) {
  const sim::DeviceSpec& device = machine.device;
  const auto link = [](double bytes_per_second, double latency_us) {
    return LinkRates{bytes_per_second, latency_us * 1e-6};
  };
  MachineRates rates;
  rates.flops_per_second = device.FlopsOf(dtype);
  rates.memory_bytes_per_second = device.memory_bytes_per_second * device.reached_memory;
  rates.launch_seconds = device.launch_us * 1e-6;
  rates.within = link(machine.within.bytes_per_second, machine.within.latency_us);
  rates.between = rates.within;
  if (machine.between.bytes_per_second > 0) {
    rates.between = link(machine.between.bytes_per_second, machine.between.latency_us);
  }
  rates.ranks_per_node = machine.devices_per_node;
  return rates;
}

size_t Threads() { return std::max(1u, std::thread::hardware_concurrency()); }

bool IsBetter(const Config& a, const Config& b) {
  return a.fits != b.fits ? a.fits : a.closed_seconds < b.closed_seconds;
}

struct Small {
  double seconds = 0;
  double memory = 0;
};

StatusOr<Small> PredictSmall(const PredictOptions& options, const TransformerStepOptions& step,
                             const Mesh& mesh, int64_t layers, const predict::CostModel& model,
                             predict::CollectiveTimer& timer) {
  TP_ASSIGN_OR_RETURN(const Program program, MakeStep(options, step, mesh, layers));
  TP_ASSIGN_OR_RETURN(
      const predict::Prediction prediction,
      predict::Predict(program, mesh, model, timer, {.lower = {}, .fold = true, .closed = true}));
  return Small{prediction.closed_seconds, static_cast<double>(prediction.memory_bytes)};
}

// All that have enough devices, and a sequence for each dp.
std::vector<Config> AllConfigs(const PredictOptions& options, const sim::Machine& machine) {
  std::vector<Config> configs;
  for (int tp : options.sweep_tp.Values()) {
    for (int dp : options.sweep_dp.Values()) {
      if (int64_t{tp} * dp > machine.devices()) continue;
      for (bool sequence_parallel : {false, true}) {
        if (sequence_parallel && tp == 1) continue;
        for (bool recompute : {false, true}) {
          const Config config = {
              .tp = tp, .dp = dp, .sequence_parallel = sequence_parallel, .recompute = recompute};
          if (StepOf(options, config).batch >= dp) configs.push_back(config);
        }
      }
    }
  }
  return configs;
}

Status NoConfig() {
  return InvalidArgument("--sweep: no mesh of it has enough devices, and a sequence for each dp");
}

// Fills in the least time and memory of `config`, of so many layers; or those of the whole model.
Status Compare(const PredictOptions& options, int64_t layers, bool whole,
               const predict::CostModel& model, predict::CollectiveTimer& timer, Config& config) {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(config.tp, config.dp));
  TransformerStepOptions step = StepOf(options, config);
  step.rates = RatesOf(model.machine(), step.dtype);
  TP_ASSIGN_OR_RETURN(Small made,
                      PredictSmall(options, step, mesh, whole ? layers : 1, model, timer));
  if (!whole) {
    TP_ASSIGN_OR_RETURN(const Small two, PredictSmall(options, step, mesh, 2, model, timer));
    const auto more = static_cast<double>(layers - 1);
    made.seconds += more * (two.seconds - made.seconds);
    made.memory += more * (two.memory - made.memory);
  }
  config.closed_seconds = made.seconds;
  config.memory_bytes = made.memory;
  config.fits = config.memory_bytes <= model.machine().device.memory_bytes;
  config.whole = whole;
  return OkStatus();
}

// Configs [begin, end). None depends on another, so that it does not matter which thread takes
// which.
Status CompareAll(const PredictOptions& options, int64_t layers, bool whole,
                  const predict::CostModel& model, std::span<Config> configs) {
  std::vector<Status> statuses(configs.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    predict::CollectiveTimer timer(model, options.engine.algorithm, /*closed=*/true);
    for (size_t i = next++; i < configs.size(); i = next++) {
      statuses[i] = Compare(options, layers, whole, model, timer, configs[i]);
    }
  };
  {
    std::vector<std::jthread> threads(std::min(configs.size(), Threads()));
    for (std::jthread& thread : threads) thread = std::jthread(work);
  }
  for (const Status& status : statuses) TP_RETURN_IF_ERROR(status);
  return OkStatus();
}

}  // namespace

std::string NameOf(const Config& config) {
  return fmt::format("tp {} dp {}{}{}", config.tp, config.dp,
                     config.sequence_parallel ? " sequence-parallel" : "",
                     config.recompute ? " recompute" : "");
}

TransformerStepOptions StepOf(const PredictOptions& options, const Config& config) {
  TransformerStepOptions step = options.step;
  if (step.batch == 0) step.batch = options.sweep ? kSweepBatch : config.dp;
  step.sequence_parallel = config.sequence_parallel;
  step.recompute = config.recompute;
  return step;
}

StatusOr<Program> MakeStep(const PredictOptions& options, const TransformerStepOptions& step,
                           const Mesh& mesh, int64_t layers, HideReport* hidden) {
  if (options.model.empty()) {
    LinearStepOptions linear;
    linear.mode = options.engine.modes[0];
    linear.tokens = options.engine.tokens;
    linear.in_features = options.engine.in_features;
    linear.out_features = options.engine.out_features;
    linear.dtype = options.engine.dtype;
    return MakeLinearStep(linear, mesh);
  }
  TP_ASSIGN_OR_RETURN(TransformerConfig config, Preset(options.model));
  if (layers > 0) config.layers = layers;
  if (options.part) return MakeTransformerPart(config, *options.part, step, mesh, hidden);
  return MakeTransformerStep(config, step, mesh, hidden);
}

StatusOr<std::vector<Config>> Sweep(const PredictOptions& options, const predict::CostModel& model,
                                    size_t best) {
  TP_ASSIGN_OR_RETURN(const TransformerConfig whole, Preset(options.model));
  std::vector<Config> configs = AllConfigs(options, model.machine());
  if (configs.empty()) return NoConfig();
  TP_RETURN_IF_ERROR(CompareAll(options, whole.layers, /*whole=*/false, model, configs));
  // What is whole takes as long as its least, or longer, and moves back; once as many as are asked
  // for stay in front, none behind them can be better.
  while (true) {
    std::stable_sort(configs.begin(), configs.end(), IsBetter);
    const auto front =
        configs.begin() + static_cast<std::ptrdiff_t>(std::min(best, configs.size()));
    const auto open = std::stable_partition(configs.begin(), front,
                                            [](const Config& config) { return config.whole; });
    if (open == front) break;
    TP_RETURN_IF_ERROR(CompareAll(options, whole.layers, /*whole=*/true, model, {open, front}));
  }
  return configs;
}

StatusOr<double> BytesToSweep(const PredictOptions& options, const predict::CostModel& model,
                              size_t best) {
  constexpr double kBytesOfAnOp = 6 << 10;     // while a thread predicts its step; measured
  constexpr double kBytesOfAKeptOp = 1 << 10;  // of a prediction; likewise
  TP_ASSIGN_OR_RETURN(const TransformerConfig whole, Preset(options.model));
  const std::vector<Config> configs = AllConfigs(options, model.machine());
  if (configs.empty()) return NoConfig();
  const Config& most = configs.back();  // has the most ops: it is the one that is cut in all ways
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(most.tp, most.dp));
  std::array<double, 2> ops = {};  // of one layer, and of two
  for (int layers : {1, 2}) {
    TP_ASSIGN_OR_RETURN(const Program program,
                        MakeStep(options, StepOf(options, most), mesh, layers));
    ops[layers - 1] = static_cast<double>(program.ops().size());
  }
  const auto more = static_cast<double>(whole.layers - 1);
  const auto predicted = static_cast<double>(std::min({configs.size(), Threads(), best}));
  const auto kept =
      static_cast<double>(std::min(static_cast<int64_t>(configs.size()), int64_t{options.top}));
  return (ops[0] + more * (ops[1] - ops[0])) * (predicted * kBytesOfAnOp + kept * kBytesOfAKeptOp);
}

StatusOr<predict::Prediction> PredictConfig(const PredictOptions& options, const Config& config,
                                            const predict::CostModel& model, HideReport* hidden) {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(config.tp, config.dp));
  TransformerStepOptions step = StepOf(options, config);
  step.rates = RatesOf(model.machine(), step.dtype);
  TP_ASSIGN_OR_RETURN(const Program program, MakeStep(options, step, mesh, /*layers=*/0, hidden));
  predict::CollectiveTimer timer(model, options.engine.algorithm);
  predict::WorldOptions world;
  const int64_t asked = options.engine.sum_part_bytes;
  world.lower.sum_part_bytes = asked >= 0 ? asked : model.machine().sum_part_bytes;
  return predict::Predict(program, mesh, model, timer, world);
}

}  // namespace tp::predict_tool
