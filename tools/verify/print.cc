#include "tools/verify/print.h"

#include "fmt/format.h"
#include "tools/bench/facts_json.h"
#include "tools/bench/report_json.h"
#include "tools/bench/summary.h"
#include "tools/io/table.h"
#include "tools/verify/lane_json.h"
#include "tools/verify/op_by_op.h"

namespace tp::verifier {
namespace {

using Json = nlohmann::ordered_json;

std::string RenderMode(const VerifierOptions& options, const bench::ModeResult& mode) {
  std::string text = "  " + bench::Summarize(fmt::format("{} against fp64", Name(mode.mode)),
                                             *mode.equivalence, options.engine.verbose);
  if (mode.step_by_step) {
    text += "  " + bench::Summarize(fmt::format("{} step by step", Name(mode.mode)),
                                    *mode.step_by_step, options.engine.verbose);
  }
  for (const CollectiveReport& collective : mode.steps.collectives) {
    if (collective.ok()) continue;
    text += fmt::format("  WRONG: {} of {} over {} {}\n", Name(collective.contract.kind),
                        collective.contract.name, Name(collective.contract.axis),
                        DescribeWrongBytes(collective));
  }
  for (const std::string& defect : mode.replica_defects) text += "  WRONG: " + defect + "\n";
  return text;
}

const char* Word(verify::Outcome outcome, const char* ok, const char* fail) {
  switch (outcome) {
    case verify::Outcome::kOk:
      return ok;
    case verify::Outcome::kUndecided:
      return "undecided";
    case verify::Outcome::kFail:
      break;
  }
  return fail;
}

std::string RenderVerdict(const VerifierResult& result) {
  std::string text = "Verdict:";
  for (const LaneRun& run : result.lanes) {
    text += fmt::format(" our engine, {}: {};", verify::Name(run.lane),
                        run.result ? Word(run.result->outcome(), "agrees", "WRONG") : "not run");
  }
  if (result.invariant) {
    text += fmt::format(" our engine, invariant: {};", result.invariant->ok() ? "agrees" : "WRONG");
  }
  if (result.op_by_op) {
    text += fmt::format(" our engine, op by op: {};",
                        Word(result.op_by_op->outcome(), "agrees", "WRONG"));
  }
  if (result.expected) {
    text += fmt::format(" your results: {};", Word(result.expected->outcome(), "agree", "DIFFER"));
  }
  if (!result.complete) text += " interrupted before the rest.";
  if (text.back() != '.') text.back() = '.';
  return io::Wrap(text, 2) + '\n';
}

Json LaneJson(const LaneRun& run) {
  Json json = {{"lane", verify::Name(run.lane)}, {"inputs", run.inputs}};
  json["run"] = run.result.has_value();
  if (!run.result) return json;
  json["ok"] = run.result->ok();
  json["outcome"] = verify::Name(run.result->outcome());
  for (const bench::ModeResult& mode : run.result->modes) {
    json["results"].push_back({{"mode", Name(mode.mode)},
                               {"bytes_ok", mode.steps.bytes_ok},
                               {"replica_defects", mode.replica_defects},
                               {"equivalence", bench::ReportToJson(*mode.equivalence)}});
    if (mode.step_by_step) {
      json["results"].back()["step_by_step"] = bench::ReportToJson(*mode.step_by_step);
    }
  }
  if (run.result->between_modes) {
    json["row_against_column"] = bench::ReportToJson(*run.result->between_modes);
  }
  return json;
}

}  // namespace

std::string RenderHead(const VerifierOptions& options, const UserTensors& tensors) {
  const bench::BenchOptions& engine = options.engine;
  std::string text = fmt::format(
      "{} tokens x {} -> {} features, {}, tp {} x dp {}, {} step{}, lr {}\n", engine.tokens,
      engine.in_features, engine.out_features, bench::DTypeName(engine), engine.tp, engine.dp,
      engine.steps, engine.steps == 1 ? "" : "s", engine.learning_rate);
  for (const std::string& origin : tensors.origins) text += "  " + origin + "\n";
  return text;
}

std::string RenderLane(const VerifierOptions& options, const LaneRun& run) {
  std::string text =
      '\n' +
      io::Wrap(fmt::format("Our engine, {} lane, on {}", verify::Name(run.lane), run.inputs), 2) +
      '\n';
  if (!run.result) return text;
  for (const bench::ModeResult& mode : run.result->modes) text += RenderMode(options, mode);
  if (run.result->between_modes) {
    text += "  " + bench::Summarize("row against column", *run.result->between_modes,
                                    options.engine.verbose);
  }
  return text;
}

std::string RenderInvariant(const VerifierOptions& options, const InvariantResult& result) {
  std::string text =
      "\nOur engine, invariant lane, on these tensors: each run against the first, bit by bit\n";
  return text + RenderRuns(result, options.engine.verbose);
}

std::string RenderOpByOp(const OpByOpResult& result) {
  std::string text = fmt::format(
      "\nOur engine, on these tensors, step {}: every value against what its op makes of the "
      "values\n"
      "that it read\n",
      result.step);
  for (const OpByOpRun& run : result.runs) {
    text += RenderReport(fmt::format("{} ", Name(run.mode)), run.report);
  }
  return text;
}

std::string RenderEnd(const VerifierOptions& options, const VerifierResult& result) {
  std::string text = "\n";
  if (result.expected) {
    text +=
        bench::Summarize("your results against fp64", *result.expected, options.engine.verbose) +
        '\n';
  }
  return text + RenderVerdict(result);
}

std::string ToJson(const VerifierOptions& options, const bench::RunFacts& run,
                   const UserTensors& tensors, const VerifierResult& result) {
  const bench::BenchOptions& engine = options.engine;
  Json json = {{"config",
                {{"backend", engine.backend},
                 {"tp", engine.tp},
                 {"dp", engine.dp},
                 {"tokens", engine.tokens},
                 {"in_features", engine.in_features},
                 {"out_features", engine.out_features},
                 {"dtype", bench::DTypeName(engine)},
                 {"steps", engine.steps},
                 {"lr", engine.learning_rate},
                 {"expect", options.expect}}},
               {"host", bench::HostToJson(run.machine, {})},
               {"run", bench::RunToJson(run)},
               {"complete", result.complete},
               {"tensors", tensors.origins},
               {"lanes", Json::array()}};
  for (const LaneRun& run : result.lanes) json["lanes"].push_back(LaneJson(run));
  if (result.invariant) AddInvariant(*result.invariant, json);
  if (result.op_by_op) {
    for (const OpByOpRun& run : result.op_by_op->runs) {
      Json one = {{"mode", Name(run.mode)}, {"step", result.op_by_op->step}};
      one.update(OpByOpToJson(run.report));
      json["op_by_op"].push_back(std::move(one));
    }
  }
  if (result.expected) json["expect"] = bench::ReportToJson(*result.expected);
  json["ok"] = result.complete && result.ok();
  json["outcome"] = bench::OutcomeOfRun(result.complete, result.outcome());
  // Paths may hold bytes that are no UTF-8: those are replaced.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tp::verifier
