// collectives: times the engine's collectives over a range of sizes and checks every element.
//
// Exit status: 0 if nothing was wrong; 1 if something was, or for input that can't be used, with
// one line on stderr that says what and where.

#include <glog/logging.h>

#include <cstdio>

#include "tools/benchmark/run.h"
#include "tools/collective_bench/options.h"
#include "tools/collective_bench/print.h"
#include "tools/collective_bench/run.h"
#include "tools/io/atomic_file.h"
#include "tp/core/contain.h"

namespace tp::collective_bench {
namespace {

StatusOr<bool> Main(int argc, char** argv) {
  TP_ASSIGN_OR_RETURN(CollectiveOptions options, ParseCommandLine(argc, argv));
  const std::string& json = options.engine.json;
  // Before the long work: what would be written must be writable.
  if (!json.empty()) TP_RETURN_IF_ERROR(io::CheckWritable(json));
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, bench::MakeBackend(options.engine));
  bench::FillDefaults(*backend, options.engine);
  TP_ASSIGN_OR_RETURN(const CollectiveResult result, RunCollectives(*backend, options));
  if (!backend->IsRoot()) return true;
  std::fputs(Render(options, result).c_str(), stdout);
  if (!json.empty()) TP_RETURN_IF_ERROR(io::WriteFileAtomically(json, ToJson(options, result)));
  return result.ok();
}

}  // namespace
}  // namespace tp::collective_bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  bool ok = false;
  const tp::Status status = tp::Contain([&]() -> tp::Status {
    TP_ASSIGN_OR_RETURN(ok, tp::collective_bench::Main(argc, argv));
    return tp::OkStatus();
  });
  if (!status.ok()) {
    std::fprintf(stderr, "collectives: %s\n", status.message().c_str());
    return 1;
  }
  return ok ? 0 : 1;
}
