#include "tools/bench/model_tool.h"

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "tools/bench/machine.h"
#include "tools/bench/model_report.h"
#include "tools/bench/model_run.h"
#include "tools/bench/print.h"
#include "tools/bench/profile.h"
#include "tools/bench/tool.h"
#include "tools/io/interrupt.h"
#include "tools/io/paths.h"
#include "tools/io/progress.h"
#include "tp/io/atomic_file.h"

namespace tp::bench {

StatusOr<int> BenchModel(Backend& backend, const BenchOptions& options,
                         const train::ModelOptions& model, io::Outputs& outputs) {
  std::vector<io::NamedFile> files = TraceFiles(options, kModelMode);
  files.push_back({"--json", options.json});
  TP_RETURN_IF_ERROR(io::CheckDistinct(files, train::FilesRead(model)));
  if (backend.IsRoot()) {
    // Before the long work: what would be written must be writable.
    if (!options.json.empty()) TP_RETURN_IF_ERROR(io::CheckWritable(options.json));
    if (options.profile) TP_RETURN_IF_ERROR(PrepareTraceFolders(options, kModelMode));
  }
  const OtherProcesses others;
  RunFacts facts;
  std::optional<io::Progress> progress;
  if (backend.IsRoot()) progress.emplace(io::Progress::Options{.tool = "bench"});
  ModelHooks hooks;
  hooks.progress = progress ? &*progress : nullptr;
  hooks.started = [&](const ModelRun& run) {
    facts.machine = ThisMachine();
    facts.warnings = WarningsBefore(options, facts.machine, std::getenv);
    outputs.Print(RenderModelHead(options, model, facts.machine, run) +
                  RenderWarnings(facts.warnings));
  };
  const auto finish = [&](const ModelRun& run) {
    facts.others = others.Share();
    const std::vector<std::string> seen = WarningsAfter(facts.others);
    facts.warnings.insert(facts.warnings.end(), seen.begin(), seen.end());
    Written written = {.json = !options.json.empty(), .traces = options.profile && run.step};
    if (written.json) {
      written.json = outputs.Account(
          io::WriteFileAtomically(options.json, ModelToJson(options, model, facts, run)));
    }
    if (written.traces) {
      written.traces = WriteTraces(options, kModelMode, run.step->timelines, outputs);
    }
    outputs.Print(RenderModelRun(options, model, run) + RenderNext(options, written) +
                  RenderWarnings(seen));
  };
  if (RunsAlone(options, std::getenv)) {
    hooks.interrupted = [&](const ModelRun& run) {
      finish(run);
      SayErrors("bench", outputs);
    };
  }
  TP_ASSIGN_OR_RETURN(const ModelRun run, RunModel(backend, options, model, hooks));
  if (!backend.IsRoot()) return kHeld;
  finish(run);
  if (!run.complete) return io::Interrupt::ExitStatus();
  return run.ok() ? kHeld : kFailed;
}

}  // namespace tp::bench
