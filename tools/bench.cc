// bench: trains one linear layer in row and column mode, times both, and proves that they agree.
//
// Exit status: 0 if every check held; 1 if one did not, or for input that can't be used, with one
// line on stderr that says what and where; 3 if none failed, but one could not be decided.

#include <glog/logging.h>

#include <cstdio>

#include "tools/benchmark/flags.h"
#include "tools/benchmark/json.h"
#include "tools/benchmark/print.h"
#include "tools/benchmark/profile.h"
#include "tools/benchmark/run.h"
#include "tools/benchmark/verdict.h"
#include "tools/io/atomic_file.h"
#include "tp/core/contain.h"

namespace tp::bench {
namespace {

StatusOr<verify::Outcome> Main(int argc, char** argv) {
  TP_ASSIGN_OR_RETURN(BenchOptions options, ParseCommandLine(argc, argv));
  // Before the long work: what would be written must be writable.
  if (!options.json.empty()) TP_RETURN_IF_ERROR(io::CheckWritable(options.json));
  if (!options.dump.empty()) TP_RETURN_IF_ERROR(io::CreateDirectories(options.dump));
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, MakeBackend(options));
  FillDefaults(*backend, options);
  if (options.profile && backend->IsRoot()) {
    TP_RETURN_IF_ERROR(PrepareTraceFolders(options, options.tp * options.dp));
  }
  TP_ASSIGN_OR_RETURN(const BenchResult result, RunBench(*backend, options));
  if (!backend->IsRoot()) return verify::Outcome::kOk;
  std::fputs(Render(options, result).c_str(), stdout);
  if (!options.dump.empty()) TP_RETURN_IF_ERROR(DumpTensors(options, result));
  for (const ModeResult& mode : result.modes) {
    if (options.profile) TP_RETURN_IF_ERROR(WriteTraces(options, mode.mode, mode.timelines));
  }
  if (!options.json.empty()) {
    TP_RETURN_IF_ERROR(io::WriteFileAtomically(options.json, ToJson(options, result)));
  }
  return result.outcome();
}

}  // namespace
}  // namespace tp::bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  tp::verify::Outcome outcome{};
  const tp::Status status = tp::Contain([&]() -> tp::Status {
    TP_ASSIGN_OR_RETURN(outcome, tp::bench::Main(argc, argv));
    return tp::OkStatus();
  });
  if (!status.ok()) {
    std::fprintf(stderr, "bench: %s\n", status.message().c_str());
    return 1;
  }
  return tp::bench::ExitStatusOf(outcome);
}
