// predict: how long a training step takes on a machine that need not be there.
//
// Exit status: 0; or 1 for input that can't be used, with one line on stderr that says what and
// where; 128 and the signal's number where one ended a sweep.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tools/bench/tool.h"
#include "tools/io/interrupt.h"
#include "tools/io/memory.h"
#include "tools/io/paths.h"
#include "tools/io/table.h"
#include "tools/predict/calibrate.h"
#include "tools/predict/chakra.h"
#include "tools/predict/machine_files.h"
#include "tools/predict/options.h"
#include "tools/predict/plan.h"
#include "tools/predict/plan_json.h"
#include "tools/predict/score.h"
#include "tools/predict/time_ops.h"
#include "tp/core/clock.h"
#include "tp/core/mesh.h"
#include "tp/io/atomic_file.h"
#include "tp/observe/chrome_trace.h"
#include "tp/observe/timeline.h"

namespace tp::predict_tool {
namespace {

constexpr char kTool[] = "predict";

std::string Ms(double seconds) { return io::FormatDuration(seconds * 1e9); }
std::string Bytes(double bytes) { return io::FormatBytes(static_cast<int64_t>(bytes)); }

std::string RenderMachine(const LoadedMachine& loaded) {
  const sim::Machine& machine = loaded.machine;
  std::string text = fmt::format("machine {}: {} {} of {} {}; predicted", machine.name,
                                 machine.nodes, machine.nodes == 1 ? "node" : "nodes",
                                 machine.devices_per_node, machine.device.name);
  if (loaded.fitted()) {
    const predict::Measurements& fitted = loaded.fit->measurements();
    text += fmt::format(", fitted on {} products, {} other ops, {} collectives of {}",
                        fitted.products.size(), fitted.ops.size(), fitted.collectives.size(),
                        fitted.where.empty() ? "an unnamed place" : fitted.where);
  }
  if (!loaded.timed_on.empty()) {
    text += fmt::format(", ops timed on {}", loaded.timed_on);
  }
  if (!machine.unvalidated.empty()) {
    text += fmt::format(", unvalidated ({})", machine.unvalidated);
  }
  return io::Wrap(text) + "\n";
}

std::string RenderPrediction(const std::string& name, int world, double memory_limit,
                             const predict::Prediction& p) {
  std::string text = fmt::format("\n{}: {} a step, predicted", name, Ms(p.seconds));
  if (p.spread > 0) {
    text += fmt::format("; 90 %: {} to {}", Ms(p.seconds / p.spread), Ms(p.seconds * p.spread));
  } else {
    text += "; no interval, for some of it was never measured";
  }
  text += fmt::format(
      "\n  closed form {}: without contention, and collectives by formula\n"
      "  the average rank computes {}, communicates {}, of which {} is exposed\n"
      "  memory of the fullest rank {} of {}{}\n"
      "  {} of {} ranks replayed, {} events\n",
      Ms(p.closed_seconds), Ms(p.compute_seconds), Ms(p.communication_seconds),
      Ms(p.exposed_seconds), Bytes(static_cast<double>(p.memory_bytes)), Bytes(memory_limit),
      static_cast<double>(p.memory_bytes) > memory_limit ? ": it does not fit" : "", p.ranks.size(),
      world, p.events);
  return text;
}

// A trace of each rank that stands for others.
void WriteTraces(const PredictOptions& options, const std::string& machine, int world,
                 predict::Prediction& prediction, io::Outputs& outputs) {
  bool written = outputs.Account(io::CreateDirectories(options.trace_dir));
  for (predict::PredictedRank& rank : prediction.ranks) {
    RankRecord record;
    record.schedule = rank.schedule;
    record.profile.host = machine;
    record.profile.device.name = machine;
    record.algorithms.assign(rank.schedule.ops.size(), "predicted");
    record.expected_bytes.assign(rank.schedule.ops.size(), 0);
    ProfiledStep step;
    step.handed_over_ns = 0;
    step.synchronized_ns = rank.step.end_ns;
    step.record = rank.step;
    record.profile.steps.push_back(step);
    const Timeline timeline = MakeTimeline(record, world, "sim");
    written = written && outputs.Account(io::WriteFileAtomically(
                             fmt::format("{}/rank{}.json", options.trace_dir, rank.rank),
                             ToChromeTrace(timeline)));
  }
  if (!written) return;
  outputs.Print(fmt::format("  {} traces in {}\n", prediction.ranks.size(), options.trace_dir));
}

// Devices beyond the step's change nothing of it.
Status CheckTakePart(const PredictOptions& options) {
  const int64_t world = int64_t{std::max(1, options.engine.tp)} * options.engine.dp;
  const auto check = [world](const char* flag, int device) {
    if (device < world) return OkStatus();
    return InvalidArgument(fmt::format(
        "--{}: device {} has no part in a step of {} devices, 0 and up", flag, device, world));
  };
  for (const auto& [device, times] : options.stragglers) {
    TP_RETURN_IF_ERROR(check("straggler", device));
  }
  for (const sim::Machine::SlowPair& pair : options.links) {
    TP_RETURN_IF_ERROR(check("link", std::max(pair.a, pair.b)));
  }
  return OkStatus();
}

StatusOr<int> PredictOne(const PredictOptions& options, const LoadedMachine& loaded,
                         io::Outputs& outputs) {
  const predict::CostModel model(loaded.machine, loaded.fit.get());
  TP_RETURN_IF_ERROR(CheckTakePart(options));
  outputs.Print(RenderMachine(loaded));
  const Config config = {.tp = std::max(1, options.engine.tp),
                         .dp = options.engine.dp,
                         .sequence_parallel = options.step.sequence_parallel,
                         .recompute = options.step.recompute};
  const int world = config.tp * config.dp;
  for (LinearMode mode : options.engine.modes) {
    PredictOptions one = options;
    one.engine.modes = {mode};
    HideReport hidden;
    TP_ASSIGN_OR_RETURN(predict::Prediction prediction, PredictConfig(one, config, model, &hidden));
    std::string what =
        options.model.empty() ? fmt::format("linear step, {} mode", Name(mode)) : options.model;
    if (options.part) what += fmt::format("'s {}", Name(*options.part));
    outputs.Print(RenderPrediction(what + ", " + NameOf(config), world,
                                   loaded.machine.device.memory_bytes, prediction));
    for (const HideNote& note : hidden.notes) {
      outputs.Print(io::Wrap("  " + ToString(note), 4) + "\n");
    }
    if (!options.trace_dir.empty()) {
      WriteTraces(one, loaded.machine.name, world, prediction, outputs);
    }
    if (!options.chakra.empty()) {
      TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(config.tp, config.dp));
      if (outputs.Account(WriteChakra(prediction, mesh, options.chakra))) {
        outputs.Print(fmt::format("  Chakra traces of {} ranks in {}.*\n", world, options.chakra));
      }
    }
    if (!options.model.empty()) break;
  }
  return bench::kHeld;
}

// Where the first one saves its time over the second.
std::string RenderWhy(bool fits, const std::vector<Config>& configs,
                      const std::vector<predict::Prediction>& whole) {
  std::string text = "\n";
  if (!fits) text += "none fits: the times are those of a machine with more memory\n";
  if (whole.size() > 1) {
    const auto beside = [](double first, double second, const char* what) {
      return fmt::format("{} {} {}", Ms(std::abs(second - first)),
                         first <= second ? "less" : "more", what);
    };
    text += fmt::format(
        "{} beside {}:\n  {}, {}\n", NameOf(configs[0]), NameOf(configs[1]),
        beside(whole[0].compute_seconds, whole[1].compute_seconds, "of computing"),
        beside(whole[0].exposed_seconds, whole[1].exposed_seconds, "of exposed communication"));
  }
  return text + "what would come first, by the closed form, with\n";
}

// What would come first if the machine had twice as much of something.
StatusOr<std::string> WhatIf(const PredictOptions& options, const LoadedMachine& loaded,
                             const Config& best) {
  std::string text;
  struct Change {
    const char* what;
    void (*apply)(sim::Machine&);
  };
  const Change changes[] = {
      {"the network", [](sim::Machine& m) { m.between.bytes_per_second *= 2; }},
      {"the links of a node", [](sim::Machine& m) { m.within.bytes_per_second *= 2; }},
      {"the memory", [](sim::Machine& m) { m.device.memory_bytes *= 2; }}};
  for (const Change& change : changes) {
    sim::Machine machine = loaded.machine;
    change.apply(machine);
    const predict::CostModel model(machine, loaded.fit.get());
    TP_ASSIGN_OR_RETURN(const std::vector<Config> configs, Sweep(options, model, 1));
    const Config& first = configs.front();
    text += fmt::format("  twice {}: {}, {}\n", change.what,
                        NameOf(first) == NameOf(best) ? "the same" : NameOf(first),
                        Ms(first.closed_seconds));
  }
  return text;
}

// A sweep, from which Ctrl-C takes nothing that it has found.
class Planner {
 public:
  Planner(const PredictOptions& options, const LoadedMachine& loaded, io::Outputs& outputs)
      : options_(options),
        loaded_(loaded),
        outputs_(outputs),
        model_(loaded.machine, loaded.fit.get()) {}

  StatusOr<int> Run() {
    const std::string& json = options_.engine.json;
    TP_ASSIGN_OR_RETURN(const double bytes, BytesToSweep(options_, model_, Best()));
    TP_RETURN_IF_ERROR(io::CheckFits(bytes, fmt::format("a sweep of {}", options_.model),
                                     "take a smaller --top, or fewer --micro_batches"));
    const io::Interrupt interrupt;
    outputs_.Print(RenderMachine(loaded_));
    // Before the long work: what would be written must be writable.
    if (!json.empty()) TP_RETURN_IF_ERROR(io::CheckWritable(json));
    TP_RETURN_IF_ERROR(Compare());
    TP_RETURN_IF_ERROR(PredictBest());
    TP_ASSIGN_OR_RETURN(const std::string what_if, Interruptibly([&] {
                          return WhatIf(options_, loaded_, plan_.configs.front());
                        }));
    outputs_.Print(what_if);
    Write();
    return bench::kHeld;
  }

 private:
  // Does `work`, which changes nothing here; Ctrl-C then writes what is there and ends the process.
  template <typename Work>
  std::invoke_result_t<Work> Interruptibly(const Work& work) {
    const io::ExitOnInterrupt guard([this] {
      plan_.complete = false;
      outputs_.Print("\nInterrupted: this is not the whole sweep.\n");
      Write();
      bench::SayErrors(kTool, outputs_);
    });
    return work();
  }

  // Of how many the whole model is compared: of each where a file for the planner holds them.
  size_t Best() const {
    return options_.engine.json.empty() ? static_cast<size_t>(options_.top)
                                        : std::numeric_limits<size_t>::max();
  }

  void Write() {
    const std::string& json = options_.engine.json;
    if (!json.empty() &&
        outputs_.Account(io::WriteFileAtomically(json, ToJson(options_, loaded_, plan_)))) {
      outputs_.Print(bench::RenderNextReport(json));
    }
  }

  Status Compare() {
    const int64_t begin = HostClock().NowNs();
    TP_ASSIGN_OR_RETURN(plan_.configs,
                        Interruptibly([&] { return Sweep(options_, model_, Best()); }));
    const double swept = static_cast<double>(HostClock().NowNs() - begin) * 1e-9;
    fit_ = static_cast<size_t>(std::ranges::count_if(plan_.configs, &Config::fits));
    outputs_.Print(
        fmt::format("\n{} of {} configurations fit in the memory of {}; compared in {}\n\n", fit_,
                    plan_.configs.size(), Bytes(loaded_.machine.device.memory_bytes), Ms(swept)));
    return OkStatus();
  }

  Status PredictBest() {
    io::Table table({{"configuration", io::Align::kLeft},
                     {"step"},
                     {"closed"},
                     {"memory"},
                     {"compute"},
                     {"exposed"},
                     {"GPU-seconds"}});
    // What does not fit is shown only where nothing does.
    const size_t candidates = fit_ > 0 ? fit_ : plan_.configs.size();
    const size_t top = std::min(candidates, static_cast<size_t>(options_.top));
    for (size_t i = 0; i < top; ++i) {
      const Config& config = plan_.configs[i];
      TP_ASSIGN_OR_RETURN(predict::Prediction p,
                          Interruptibly([&] { return PredictConfig(options_, config, model_); }));
      table.AddRow({NameOf(config), Ms(p.seconds), Ms(config.closed_seconds),
                    Bytes(static_cast<double>(p.memory_bytes)), Ms(p.compute_seconds),
                    Ms(p.exposed_seconds),
                    fmt::format("{:.1f}", p.seconds * config.tp * config.dp)});
      plan_.whole.push_back(std::move(p));
    }
    outputs_.Print(table.Render());
    outputs_.Print(RenderWhy(fit_ > 0, plan_.configs, plan_.whole));
    return OkStatus();
  }

  const PredictOptions& options_;
  const LoadedMachine& loaded_;
  io::Outputs& outputs_;
  const predict::CostModel model_;
  Plan plan_;
  size_t fit_ = 0;  // of plan_.configs
};

// Before anything is written.
Status CheckFiles(const PredictOptions& options) {
  std::vector<io::NamedFile> inputs = {
      {"--fit", options.fit}, {"--score", options.score}, {"--ops", options.ops}};
  if (!options.machine.starts_with("preset:")) {
    inputs.push_back({"--machine", io::ResolvePath(options.machine)});
  }
  std::vector<io::NamedFile> outputs = {{"--json", options.engine.json},
                                        {"--time_ops", options.time_ops}};
  const auto add = [&outputs](const char* flag, const std::string& path, const auto& ending) {
    if (!path.empty()) outputs.push_back({flag, path + ending});
  };
  add("--calibrate", options.calibrate, "");
  add("--calibrate", options.calibrate, kHeldOutEnding);
  add("--calibrate", options.calibrate, kOpsEnding);
  add("--chakra", options.chakra, ".groups.json");
  const int64_t world = int64_t{std::max(1, options.engine.tp)} * options.engine.dp;
  for (int64_t rank = 0; rank < std::min<int64_t>(world, Mesh::kMaxWorld); ++rank) {
    add("--chakra", options.chakra, fmt::format(".{}.et", rank));
    add("--trace_dir", options.trace_dir, fmt::format("/rank{}.json", rank));
  }
  return io::CheckDistinct(outputs, inputs);
}

// Times ops, or reads what was timed, and has predictions take them.
Status TakeOps(const PredictOptions& options, const std::optional<predict::Measurements>& scored,
               LoadedMachine& loaded, io::Outputs& outputs) {
  if (!options.ops.empty()) {
    TP_ASSIGN_OR_RETURN(const predict::Measurements timed, LoadMeasurements(options.ops));
    loaded.Take(timed);
  }
  if (options.time_ops.empty()) return OkStatus();
  TP_RETURN_IF_ERROR(io::CheckWritable(options.time_ops));
  TP_ASSIGN_OR_RETURN(const predict::Measurements timed,
                      TimeOps(options, loaded.machine, scored ? &*scored : nullptr));
  outputs.Account(io::WriteFileAtomically(options.time_ops, predict::ToJson(timed)));
  loaded.Take(timed);
  return OkStatus();
}

StatusOr<int> Main(int argc, char** argv, io::Outputs& outputs) {
  TP_ASSIGN_OR_RETURN(const PredictOptions options, ParseCommandLine(argc, argv));
  TP_RETURN_IF_ERROR(CheckFiles(options));
  if (!options.calibrate.empty()) return Calibrate(options, outputs);
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<LoadedMachine> loaded, LoadMachine(options));
  std::optional<predict::Measurements> scored;
  if (!options.score.empty()) {
    TP_ASSIGN_OR_RETURN(scored, LoadMeasurements(options.score));
  }
  TP_RETURN_IF_ERROR(TakeOps(options, scored, *loaded, outputs));
  if (scored) {
    const predict::Measurements& measured = *scored;
    outputs.Print(RenderMachine(*loaded) + "\n");
    TP_ASSIGN_OR_RETURN(const Scored scored, Score(loaded->machine, loaded->fit.get(), measured));
    outputs.Print(RenderScore(scored, measured, options.engine.verbose));
    return bench::kHeld;
  }
  return options.sweep ? Planner(options, *loaded, outputs).Run()
                       : PredictOne(options, *loaded, outputs);
}

}  // namespace
}  // namespace tp::predict_tool

int main(int argc, char** argv) {
  using namespace tp;  // NOLINT
  return bench::RunTool(predict_tool::kTool, argc, argv, predict_tool::Main);
}
