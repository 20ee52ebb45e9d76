#include "tools/bench/dump.h"

#include <string>
#include <utility>

#include "fmt/format.h"
#include "tp/io/atomic_file.h"
#include "tp/io/npy.h"

namespace tp::bench {
namespace {

constexpr const char* kNames[] = {"y", "dx", "dw", "db", "w", "b", "losses"};

std::string FolderOf(const BenchOptions& options, LinearMode mode) {
  return fmt::format("{}/{}", options.dump, Name(mode));
}

}  // namespace

std::vector<io::NamedFile> FilesToDump(const BenchOptions& options) {
  std::vector<io::NamedFile> files;
  if (options.dump.empty()) return files;
  for (LinearMode mode : options.modes) {
    for (const char* name : kNames) {
      files.push_back({"--dump", fmt::format("{}/{}.npy", FolderOf(options, mode), name)});
    }
  }
  return files;
}

Status PrepareDump(const BenchOptions& options) {
  for (LinearMode mode : options.modes) {
    TP_RETURN_IF_ERROR(io::CreateDirectories(FolderOf(options, mode)));
  }
  for (const io::NamedFile& file : FilesToDump(options)) {
    TP_RETURN_IF_ERROR(io::CheckWritable(file.path));
  }
  return OkStatus();
}

void DumpTensors(const BenchOptions& options, const BenchResult& result, io::Outputs& outputs) {
  for (const ModeResult& mode : result.modes) {
    const verify::Observed& observed = mode.observed;
    HostTensor losses({static_cast<int64_t>(observed.losses.size())}, DType::kFloat64);
    EncodeFromDouble(DType::kFloat64, observed.losses, losses.bytes());
    const HostTensor* const tensors[] = {&observed.y, &observed.dx, &observed.dw, &observed.db,
                                         &observed.w, &observed.b,  &losses};
    for (size_t i = 0; i < std::size(kNames); ++i) {
      outputs.Account(io::WriteNpy(
          fmt::format("{}/{}.npy", FolderOf(options, mode.mode), kNames[i]), *tensors[i]));
    }
  }
}

}  // namespace tp::bench
