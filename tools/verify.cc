// verify: holds a training step on the user's own tensors against an independent reference.
//
// Exit status: 0 if all that was asked for was decided and agrees; 1 if something does not agree,
// or for input that can't be used, with one line on stderr that says what and where; 3 if nothing
// disagrees, but something could not be decided.

#include <glog/logging.h>

#include <cstdio>

#include "tools/benchmark/run.h"
#include "tools/benchmark/verdict.h"
#include "tools/io/atomic_file.h"
#include "tools/verifier/options.h"
#include "tools/verifier/print.h"
#include "tools/verifier/run.h"
#include "tp/core/contain.h"

namespace tp::verifier {
namespace {

StatusOr<verify::Outcome> Main(int argc, char** argv) {
  TP_ASSIGN_OR_RETURN(VerifierOptions options, ParseCommandLine(argc, argv));
  const std::string& json = options.engine.json;
  if (!json.empty()) TP_RETURN_IF_ERROR(io::CheckWritable(json));
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, bench::MakeBackend(options.engine));
  bench::FillDefaults(*backend, options.engine);
  TP_ASSIGN_OR_RETURN(const UserTensors tensors, LoadTensors(options));
  TP_ASSIGN_OR_RETURN(const VerifierResult result, RunVerifier(*backend, options, tensors));
  if (!backend->IsRoot()) return verify::Outcome::kOk;
  std::fputs(Render(options, tensors, result).c_str(), stdout);
  if (!json.empty()) {
    TP_RETURN_IF_ERROR(io::WriteFileAtomically(json, ToJson(options, tensors, result)));
  }
  return result.outcome();
}

}  // namespace
}  // namespace tp::verifier

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  tp::verify::Outcome outcome{};
  const tp::Status status = tp::Contain([&]() -> tp::Status {
    TP_ASSIGN_OR_RETURN(outcome, tp::verifier::Main(argc, argv));
    return tp::OkStatus();
  });
  if (!status.ok()) {
    std::fprintf(stderr, "verify: %s\n", status.message().c_str());
    return 1;
  }
  return tp::bench::ExitStatusOf(outcome);
}
