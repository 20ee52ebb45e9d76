// bench: trains one linear layer in row and column mode, times both, and proves that they agree; or
// measures a transformer's step.
//
// Exit status: 0 if every check held; 1 if one did not, or for input that can't be used, with one
// line on stderr that says what and where; 3 if none failed, but one could not be decided; 128 and
// the signal's number where one ended it.

#include <cstdlib>
#include <optional>
#include <vector>

#include "tools/bench/data.h"
#include "tools/bench/dump.h"
#include "tools/bench/flags.h"
#include "tools/bench/json.h"
#include "tools/bench/machine.h"
#include "tools/bench/model_tool.h"
#include "tools/bench/print.h"
#include "tools/bench/profile.h"
#include "tools/bench/run.h"
#include "tools/bench/tool.h"
#include "tools/bench/verdict.h"
#include "tools/io/interrupt.h"
#include "tools/io/paths.h"
#include "tools/io/progress.h"
#include "tp/io/atomic_file.h"

namespace tp::bench {
namespace {

constexpr char kTool[] = "bench";

// What a run tells, to the standard output and to files.
class Reporter {
 public:
  Reporter(const BenchOptions& options, io::Outputs& outputs)
      : options_(options), outputs_(outputs) {}

  RunHooks Hooks(io::Progress* progress) {
    RunHooks hooks;
    hooks.progress = progress;
    hooks.started = [this](const BenchResult& result) {
      run_.machine = ThisMachine();
      run_.warnings = WarningsBefore(options_, run_.machine, std::getenv);
      outputs_.Print(RenderHead(options_, run_.machine, result) + RenderWarnings(run_.warnings));
    };
    hooks.mode_done = [this](const BenchResult& result, const ModeResult& mode) {
      outputs_.Print(RenderMode(options_, result, mode));
      ++modes_printed_;
    };
    if (!RunsAlone(options_, std::getenv)) return hooks;
    hooks.interrupted = [this](const BenchResult& result) {
      Finish(result);
      SayErrors(kTool, outputs_);
    };
    return hooks;
  }

  // The files, and the rest of the text behind them.
  void Finish(const BenchResult& result) {
    run_.others = others_.Share();
    const std::vector<std::string> seen = WarningsAfter(run_.others);
    run_.warnings.insert(run_.warnings.end(), seen.begin(), seen.end());
    Written written = {.json = !options_.json.empty(), .traces = options_.profile};
    if (written.json) {
      written.json =
          outputs_.Account(io::WriteFileAtomically(options_.json, ToJson(options_, run_, result)));
    }
    if (!options_.dump.empty()) DumpTensors(options_, result, outputs_);
    for (const ModeResult& mode : result.modes) {
      if (!options_.profile) break;
      written.traces &= WriteTraces(options_, Name(mode.mode), mode.timelines, outputs_);
    }
    for (; modes_printed_ < result.modes.size(); ++modes_printed_) {
      outputs_.Print(RenderMode(options_, result, result.modes[modes_printed_]));
    }
    outputs_.Print(RenderEnd(options_, result) + RenderNext(options_, written) +
                   RenderWarnings(seen));
  }

 private:
  const BenchOptions& options_;
  io::Outputs& outputs_;
  const OtherProcesses others_;
  RunFacts run_;
  size_t modes_printed_ = 0;
};

// Before anything is written.
Status CheckFiles(const BenchOptions& options) {
  std::vector<io::NamedFile> outputs = FilesToDump(options);
  outputs.push_back({"--json", options.json});
  for (LinearMode mode : options.modes) {
    const std::vector<io::NamedFile> traces = TraceFiles(options, Name(mode));
    outputs.insert(outputs.end(), traces.begin(), traces.end());
  }
  return io::CheckDistinct(outputs, FilesToLoad(options.load));
}

StatusOr<int> Main(int argc, char** argv, io::Outputs& outputs) {
  TP_ASSIGN_OR_RETURN(CommandLine asked, ParseCommandLine(argc, argv));
  BenchOptions& options = asked.options;
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, MakeBackend(options));
  FillDefaults(*backend, options);
  if (asked.model.given()) return BenchModel(*backend, options, asked.model, outputs);
  TP_RETURN_IF_ERROR(CheckFiles(options));
  if (backend->IsRoot()) {
    // Before the long work: what would be written must be writable.
    if (!options.json.empty()) TP_RETURN_IF_ERROR(io::CheckWritable(options.json));
    if (!options.dump.empty()) TP_RETURN_IF_ERROR(PrepareDump(options));
    for (LinearMode mode : options.modes) {
      if (options.profile) TP_RETURN_IF_ERROR(PrepareTraceFolders(options, Name(mode)));
    }
  }
  Reporter reporter(options, outputs);
  std::optional<io::Progress> progress;
  if (backend->IsRoot()) progress.emplace(io::Progress::Options{.tool = kTool});
  TP_ASSIGN_OR_RETURN(const BenchResult result,
                      RunBench(*backend, options, reporter.Hooks(progress ? &*progress : nullptr)));
  if (!backend->IsRoot()) return kHeld;
  reporter.Finish(result);
  if (!result.complete) return io::Interrupt::ExitStatus();
  return ExitStatusOf(result.outcome());
}

}  // namespace
}  // namespace tp::bench

int main(int argc, char** argv) {
  return tp::bench::RunTool(tp::bench::kTool, argc, argv, tp::bench::Main);
}
