// collectives: times the engine's collectives over a range of sizes and checks every element.
//
// Exit status: 0 if nothing was wrong; 1 if something was, or for input that can't be used, with
// one line on stderr that says what and where; 128 and the signal's number where one ended it.

#include <cstdlib>
#include <optional>

#include "tools/bench/machine.h"
#include "tools/bench/print.h"
#include "tools/bench/run.h"
#include "tools/bench/tool.h"
#include "tools/collectives/options.h"
#include "tools/collectives/print.h"
#include "tools/collectives/run.h"
#include "tools/io/progress.h"
#include "tp/io/atomic_file.h"

namespace tp::collective_bench {
namespace {

constexpr char kTool[] = "collectives";

StatusOr<int> Main(int argc, char** argv, io::Outputs& outputs) {
  TP_ASSIGN_OR_RETURN(CollectiveOptions options, ParseCommandLine(argc, argv));
  const std::string& json = options.engine.json;
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, bench::MakeBackend(options.engine));
  bench::FillDefaults(*backend, options.engine);
  const bool root = backend->IsRoot();
  // Before the long work: what would be written must be writable.
  if (root && !json.empty()) TP_RETURN_IF_ERROR(io::CheckWritable(json));

  std::optional<io::Progress> progress;
  if (root) progress.emplace(io::Progress::Options{.tool = kTool});
  const bench::OtherProcesses others;
  bench::RunFacts run;
  const auto finish = [&](const CollectiveResult& result) {
    run.others = others.Share();
    const std::vector<std::string> seen = bench::WarningsAfter(run.others);
    run.warnings.insert(run.warnings.end(), seen.begin(), seen.end());
    const bool written = !json.empty() && outputs.Account(io::WriteFileAtomically(
                                              json, ToJson(options, run, result)));
    outputs.Print(RenderVerdict(options, result) + bench::RenderWarnings(seen));
    if (written) outputs.Print(bench::RenderNextReport(json));
  };
  RunHooks hooks;
  hooks.progress = progress ? &*progress : nullptr;
  hooks.started = [&](const CollectiveResult& result) {
    run.machine = bench::ThisMachine();
    run.warnings = bench::WarningsBefore(options.engine, run.machine, std::getenv);
    outputs.Print(bench::RenderWarnings(run.warnings) + RenderHead(options, run.machine, result));
  };
  hooks.row_done = [&](const CollectiveResult& result) {
    const auto nth = static_cast<int64_t>((result.rows.size() - 1) % options.Sizes().size());
    if (IsShown(options, nth) || !result.rows.back().ok()) {
      outputs.Print(RenderRow(result.rows.back()));
    }
  };
  if (bench::RunsAlone(options.engine, std::getenv)) {
    hooks.interrupted = [&](const CollectiveResult& result) {
      finish(result);
      bench::SayErrors(kTool, outputs);
    };
  }
  TP_ASSIGN_OR_RETURN(const CollectiveResult result, RunCollectives(*backend, options, hooks));
  if (!root) return bench::kHeld;
  finish(result);
  return result.ok() ? bench::kHeld : bench::kFailed;
}

}  // namespace
}  // namespace tp::collective_bench

int main(int argc, char** argv) {
  using namespace tp;  // NOLINT
  return bench::RunTool(collective_bench::kTool, argc, argv, collective_bench::Main);
}
