// verify: holds a training step on the user's own tensors against an independent reference.
//
// Exit status: 0 if all that was asked for was decided and agrees; 1 if something does not agree,
// or for input that can't be used, with one line on stderr that says what and where; 3 if nothing
// disagrees, but something could not be decided; 128 and the signal's number where one ended it.

#include <cstdlib>
#include <optional>

#include "tools/bench/machine.h"
#include "tools/bench/print.h"
#include "tools/bench/run.h"
#include "tools/bench/tool.h"
#include "tools/bench/verdict.h"
#include "tools/io/paths.h"
#include "tools/io/progress.h"
#include "tools/train/model_flags.h"
#include "tools/verify/model.h"
#include "tools/verify/model_print.h"
#include "tools/verify/options.h"
#include "tools/verify/print.h"
#include "tools/verify/run.h"
#include "tools/verify/tensors.h"
#include "tp/io/atomic_file.h"

namespace tp::verifier {
namespace {

constexpr char kTool[] = "verify";

StatusOr<int> VerifyModel(Backend& backend, const VerifierOptions& options, io::Outputs& outputs) {
  const std::string& json = options.engine.json;
  TP_RETURN_IF_ERROR(io::CheckDistinct({{"--json", json}}, train::FilesRead(options.model)));
  if (backend.IsRoot() && !json.empty()) TP_RETURN_IF_ERROR(io::CheckWritable(json));
  std::optional<io::Progress> progress;
  if (backend.IsRoot()) progress.emplace(io::Progress::Options{.tool = kTool});
  const bench::RunFacts run{.machine = bench::ThisMachine(),
                            .warnings = bench::WarningsOfLaunch(options.engine, std::getenv),
                            .others = {}};
  bool begun = false;  // the head is printed: where input is refused, nothing is
  const auto print = [&](const ModelResult& result, const std::string& text) {
    if (!begun) {
      outputs.Print(RenderModelHead(options, result) + bench::RenderWarnings(run.warnings));
    }
    begun = true;
    outputs.Print(text);
  };
  const auto finish = [&](const ModelResult& result) {
    const bool written = !json.empty() && outputs.Account(io::WriteFileAtomically(
                                              json, ModelToJson(options, run, result)));
    print(result, RenderModelEnd(result) + (written ? "written: " + json + "\n" : ""));
  };
  ModelHooks hooks;
  hooks.progress = progress ? &*progress : nullptr;
  hooks.lane_done = [&](const ModelResult& result, ModelLane lane) {
    print(result, RenderModelLane(options, result, lane));
  };
  if (bench::RunsAlone(options.engine, std::getenv)) {
    hooks.interrupted = [&](const ModelResult& result) {
      finish(result);
      bench::SayErrors(kTool, outputs);
    };
  }
  TP_ASSIGN_OR_RETURN(const ModelResult result, RunModel(backend, options, hooks));
  if (!backend.IsRoot()) return bench::kHeld;
  finish(result);
  return bench::ExitStatusOf(result.outcome());
}

StatusOr<int> Main(int argc, char** argv, io::Outputs& outputs) {
  TP_ASSIGN_OR_RETURN(VerifierOptions options, ParseCommandLine(argc, argv));
  const bench::BenchOptions& engine = options.engine;
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, bench::MakeBackend(engine));
  bench::FillDefaults(*backend, options.engine);
  const bool root = backend->IsRoot();
  if (options.model.given()) return VerifyModel(*backend, options, outputs);
  TP_RETURN_IF_ERROR(io::CheckDistinct({{"--json", engine.json}}, FilesRead(options)));
  // Before the long work: what would be written must be writable.
  if (root && !engine.json.empty()) TP_RETURN_IF_ERROR(io::CheckWritable(engine.json));
  TP_ASSIGN_OR_RETURN(const UserTensors tensors, LoadTensors(options));

  std::optional<io::Progress> progress;
  if (root) progress.emplace(io::Progress::Options{.tool = kTool});
  bench::RunFacts run{.machine = bench::ThisMachine(), .warnings = {}, .others = {}};
  run.warnings = bench::WarningsBefore(engine, run.machine, std::getenv);
  bool begun = false;  // the head is printed: where input is refused, nothing is
  const auto print = [&](const std::string& text) {
    if (!begun) {
      outputs.Print(RenderHead(options, tensors) +
                    bench::RenderWarnings(bench::WarningsOfLaunch(engine, std::getenv)));
    }
    begun = true;
    outputs.Print(text);
  };
  const auto finish = [&](const VerifierResult& result) {
    const bool written =
        !engine.json.empty() && outputs.Account(io::WriteFileAtomically(
                                    engine.json, ToJson(options, run, tensors, result)));
    print(RenderEnd(options, result) + (written ? "written: " + engine.json + "\n" : ""));
  };
  RunHooks hooks;
  hooks.progress = progress ? &*progress : nullptr;
  hooks.lane_done = [&](const LaneRun& lane) { print(RenderLane(options, lane)); };
  hooks.invariant_done = [&](const InvariantResult& lane) {
    print(RenderInvariant(options, lane));
  };
  hooks.op_by_op_done = [&](const OpByOpResult& lane) { print(RenderOpByOp(lane)); };
  if (bench::RunsAlone(engine, std::getenv)) {
    hooks.interrupted = [&](const VerifierResult& result) {
      finish(result);
      bench::SayErrors(kTool, outputs);
    };
  }
  TP_ASSIGN_OR_RETURN(const VerifierResult result, RunVerifier(*backend, options, tensors, hooks));
  if (!root) return bench::kHeld;
  finish(result);
  return bench::ExitStatusOf(result.outcome());
}

}  // namespace
}  // namespace tp::verifier

int main(int argc, char** argv) {
  using namespace tp;  // NOLINT
  return bench::RunTool(verifier::kTool, argc, argv, verifier::Main);
}
