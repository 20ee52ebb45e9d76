#include "tools/bench/tool.h"

#include <fcntl.h>
#include <gflags/gflags.h>
#include <glog/logging.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "tools/io/memory.h"
#include "tp/core/contain.h"

namespace tp::bench {
namespace {

// A descriptor that was closed by the caller would be the next file's, and that file would get the
// text. Opened the wrong way round, so that writing to it fails.
void OccupyStandardDescriptors() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) >= 0) continue;
    [[maybe_unused]] const int opened = open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace

bool SayErrors(const char* name, const io::Outputs& outputs) {
  const std::vector<Status> errors = outputs.errors();
  for (const Status& error : errors) {
    std::fprintf(stderr, "%s: %s\n", name, error.message().c_str());
  }
  return errors.empty();
}

std::string RenderNextReport(const std::string& json) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(json, ignored) ? "next: report " + json + "\n" : "";
}

int RunTool(const char* name, int argc, char** argv,
            const std::function<StatusOr<int>(int, char**, io::Outputs&)>& work) {
  io::ReturnFreedMemory();
  OccupyStandardDescriptors();
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond `ulimit -f`: the write says so, as on a full disk
  io::Outputs outputs;
  int exit_status = kHeld;
  const Status status = Contain([&]() -> Status {
    TP_ASSIGN_OR_RETURN(exit_status, work(argc, argv, outputs));
    return OkStatus();
  });
  if (!status.ok()) std::fprintf(stderr, "%s: %s\n", name, status.message().c_str());
  const bool written = SayErrors(name, outputs);
  return !status.ok() || (!written && exit_status == kHeld) ? kFailed : exit_status;
}

}  // namespace tp::bench
