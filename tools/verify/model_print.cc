#include "tools/verify/model_print.h"

#include <utility>

#include "fmt/format.h"
#include "tools/bench/facts_json.h"
#include "tools/bench/model_config_json.h"
#include "tools/bench/report_json.h"
#include "tools/bench/step_json.h"
#include "tools/io/table.h"
#include "tools/train/model_step.h"
#include "tools/verify/lane_json.h"
#include "tools/verify/op_by_op.h"

namespace tp::verifier {
namespace {

using Json = nlohmann::ordered_json;

std::string Verdict(const ModelResult& result) {
  switch (result.outcome()) {
    case verify::Outcome::kFail:
      return "FAIL: see above.";
    case verify::Outcome::kUndecided:
      return "undecided: nothing fails, and not everything could be decided; see above.";
    case verify::Outcome::kOk:
      break;
  }
  if (!result.complete) return "interrupted before all was verified; nothing that was fails.";
  std::string text;
  if (result.ops) text = "the sharded step is the unsharded program, but for rounding";
  const auto add = [&](const std::string& more) { text += (text.empty() ? "" : "; ") + more; };
  if (result.exact) add("nothing in it rounds");
  if (result.invariant) {
    add(fmt::format("in the invariant order its bits are the same for tp {} to {}",
                    result.invariant->runs.front().tp, result.invariant->runs.back().tp));
  }
  return text + ".";
}

}  // namespace

std::string RenderModelHead(const VerifierOptions& options, const ModelResult& result) {
  return RenderModel(options.model, options.engine, result.sizes);
}

std::string RenderModelLane(const VerifierOptions& options, const ModelResult& result,
                            ModelLane lane) {
  const int step = options.engine.steps - 1;
  switch (lane) {
    case ModelLane::kOps:
      return fmt::format(
          "\nStep {}: every value against what its op makes of the values that it read\n{}", step,
          RenderReport("", *result.ops));
    case ModelLane::kExact:
      return fmt::format("\nStep {}: every value that can't have rounded, to the bit\n{}", step,
                         RenderReport("", *result.exact));
    case ModelLane::kInvariant:
      break;
  }
  return "\nThe invariant order of sums: each tp against the first, bit by bit\n" +
         RenderRuns(*result.invariant, /*verbose=*/false);
}

std::string RenderModelEnd(const ModelResult& result) {
  return "\n" + io::Wrap("Verdict: " + Verdict(result), 2) + "\n";
}

std::string ModelToJson(const VerifierOptions& options, const bench::RunFacts& run,
                        const ModelResult& result) {
  Json config = bench::EngineToJson(options.engine);
  config["model"] = bench::ModelConfigToJson(options.model, result.sizes);
  Json json = {{"config", std::move(config)},
               {"host", bench::HostToJson(run.machine, {})},
               {"run", bench::RunToJson(run)},
               {"complete", result.complete}};
  for (const auto& [name, report] :
       {std::pair("op_by_op", &result.ops), std::pair("exact", &result.exact)}) {
    if (!*report) continue;
    json[name] = {{"step", options.engine.steps - 1}};
    json[name].update(OpByOpToJson(**report));
  }
  if (result.invariant) AddInvariant(*result.invariant, json);
  json["ok"] = result.complete && result.outcome() == verify::Outcome::kOk;
  json["outcome"] = bench::OutcomeOfRun(result.complete, result.outcome());
  // Paths may hold bytes that are no UTF-8: those are replaced.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tp::verifier
