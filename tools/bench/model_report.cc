#include "tools/bench/model_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "fmt/format.h"
#include "tools/bench/facts_json.h"
#include "tools/bench/model_config_json.h"
#include "tools/bench/report_json.h"
#include "tools/bench/step_json.h"
#include "tools/bench/step_lines.h"
#include "tools/bench/tables.h"
#include "tools/io/table.h"
#include "tools/train/model_step.h"

namespace tp::bench {
namespace {

using Json = nlohmann::ordered_json;

// The collectives of one kind over one axis, together.
struct Kind {
  std::string name;  // "all_reduce over tp"
  int64_t calls = 0;
  int64_t moved = 0;
  int64_t contract = 0;
};

std::vector<Kind> KindsOf(const StepReport& steps) {
  std::vector<Kind> kinds;
  for (const CollectiveReport& collective : steps.collectives) {
    const std::string name =
        fmt::format("{} over {}", Name(collective.contract.kind), Name(collective.contract.axis));
    auto kind = std::find_if(kinds.begin(), kinds.end(),
                             [&](const Kind& other) { return other.name == name; });
    if (kind == kinds.end()) kind = kinds.insert(kinds.end(), Kind{.name = name});
    ++kind->calls;
    kind->moved += collective.bytes_sent;
    kind->contract += collective.contract.bytes;
  }
  return kinds;
}

double TokensPerSecond(const train::ModelOptions& model, const MeasuredStep& step) {
  return static_cast<double>(model.batch * model.sequence) * 1e3 / step.steps.step.median;
}

// Of the model's operations.
const char* FormulaOf(const train::ModelOptions& model) {
  if (!model.part) return "6 N T + 12 L H Q S T";
  return *model.part == TransformerPart::kBlock ? "6 N T + 12 H Q S T" : "6 N T";
}

std::string RenderSpeed(const train::ModelOptions& model, const ModelRun& run) {
  const double rate = 1e3 / run.step->steps.step.median;
  std::string text = Line("", fmt::format("{} steps/s, {} tokens/s", io::FormatCount(rate),
                                          io::FormatCount(TokensPerSecond(model, *run.step))));
  const auto share = [&](double flops) {
    return run.peak ? fmt::format(": {:.3g} %", 100 * rate * flops / *run.peak) : std::string();
  };
  text +=
      Line("model", fmt::format("{} a step ({}), {}{}", io::FormatRate(run.flops.model, "FLOP"),
                                FormulaOf(model), io::FormatRate(rate * run.flops.model, "FLOP/s"),
                                share(run.flops.model)));
  text += Line("program", fmt::format("{} a step on all ranks, {} of it in products, {}{}",
                                      io::FormatRate(run.flops.program, "FLOP"),
                                      io::FormatRate(run.flops.products, "FLOP"),
                                      io::FormatRate(rate * run.flops.program, "FLOP/s"),
                                      share(run.flops.program)));
  if (!run.peak) return text;
  return text + Line("", fmt::format("of the measured peak, {}; the model's share is its MFU",
                                     io::FormatRate(*run.peak, "FLOP/s")));
}

std::string RenderKinds(const StepReport& steps) {
  std::string text;
  for (const Kind& kind : KindsOf(steps)) {
    text += Line("", fmt::format("{}: {} bytes in {} calls, at least {}", kind.name,
                                 io::FormatCount(static_cast<double>(kind.moved)), kind.calls,
                                 io::FormatCount(static_cast<double>(kind.contract))));
  }
  return text;
}

std::string RenderVerdict(const BenchOptions& options, const train::ModelOptions& model,
                          const ModelRun& run) {
  if (!run.complete) return "\nInterrupted: this is what was measured until then.\n";
  if (!run.step || !run.step->ok()) return "\nVerdict: WRONG, see above.\n";
  if (run.lost()) {
    return "\n" +
           io::Wrap(
               fmt::format("Verdict: NO TRAINING, the loss of step {} is no finite number: take "
                           "a smaller --lr than {}.",
                           *run.lost(), options.learning_rate)) +
           "\n";
  }
  return "\n" +
         io::Wrap(fmt::format(
             "Verdict: each rank took the memory that was planned{}. Its values are "
             "for `verify {}` to prove.",
             options.tp * options.dp > 1 ? ", and the step moved exactly the bytes it must" : "",
             train::FlagsOfStep(model, options))) +
         "\n";
}

Json ResultToJson(const train::ModelOptions& model, const ModelRun& run) {
  const double rate = run.flops.model * 1e3 / run.step->steps.step.median;
  Json json = StepToJson(*run.step, run.losses);
  json["mode"] = kModelMode;
  json["flops"] = {
      {"model", run.flops.model}, {"program", run.flops.program}, {"products", run.flops.products}};
  json["tokens_per_second"] = TokensPerSecond(model, *run.step);
  json["flops_per_second"] = rate;
  json["share_of_peak"] = run.peak ? Json(rate / *run.peak) : Json();
  Json kinds = Json::array();
  for (const Kind& kind : KindsOf(run.step->steps)) {
    kinds.push_back({{"name", kind.name},
                     {"calls", kind.calls},
                     {"moved_bytes", kind.moved},
                     {"contract_bytes", kind.contract}});
  }
  json["bytes"]["kinds"] = kinds;
  return json;
}

}  // namespace

std::string RenderModelHead(const BenchOptions& options, const train::ModelOptions& model,
                            const Machine& machine, const ModelRun& run) {
  const std::string adamw =
      model.part ? "" : fmt::format("lr {}, clip {}, ", options.learning_rate, model.clip);
  return train::RenderModel(model, options, run.sizes) +
         io::Wrap(fmt::format("{} warm-up and {} timed steps, {}seed {}", options.warmup,
                              options.steps, adamw, options.seed),
                  2) +
         "\n" + RenderWhere(options, machine, run.host);
}

std::string RenderModelRun(const BenchOptions& options, const train::ModelOptions& model,
                           const ModelRun& run) {
  std::string text = "\n";
  if (run.step) {
    const MeasuredStep& step = *run.step;
    text += RenderTimeLine(options, step) + RenderSpeed(model, run) + RenderProductsLine(step);
    text += RenderProfileLine(options, step, kModelMode) + RenderPhaseLine(step);
    text += RenderMemoryLine(step);
    if (!run.losses.empty()) text += RenderLossLine(run.losses);
    if (step.steps.bytes_ok) text += RenderBytesLine(step) + RenderKinds(step.steps);
    if (options.verbose && !run.losses.empty()) text += RenderLosses(run.losses);
    if (options.verbose) text += RenderPhases(options, step.steps);
    if (options.verbose || !step.steps.bytes_ok) text += RenderCollectives(step.steps);
    text += RenderDefects(step);
  }
  return text + RenderVerdict(options, model, run);
}

std::string ModelToJson(const BenchOptions& options, const train::ModelOptions& model,
                        const RunFacts& facts, const ModelRun& run) {
  Json config = EngineToJson(options);
  config["model"] = ModelConfigToJson(model, run.sizes);
  Json results = Json::array();
  if (run.step) results.push_back(ResultToJson(model, run));
  Json json = {{"config", config},
               {"host", HostToJson(facts.machine, run.host)},
               {"run", RunToJson(facts)},
               {"complete", run.complete},
               {"results", results}};
  if (run.peak) json["peak"] = {{"flops_per_second", *run.peak}, {"source", "measured"}};
  json["ok"] = run.ok();
  const bool failed = (run.step && !run.step->ok()) || run.lost();
  json["outcome"] =
      OutcomeOfRun(run.complete, failed ? verify::Outcome::kFail : verify::Outcome::kOk);
  // Text from outside (a host's name, say) may hold bytes that are no UTF-8: those are replaced.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tp::bench
