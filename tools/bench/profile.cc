#include "tools/bench/profile.h"

#include <cstdint>
#include <string_view>

#include "fmt/format.h"
#include "tp/core/clock.h"
#include "tp/io/atomic_file.h"
#include "tp/observe/chrome_trace.h"

namespace tp::bench {
namespace {

constexpr std::string_view kEnding = ".pt.trace.json";

std::string RankFolder(const BenchOptions& options, std::string_view name, int rank) {
  return fmt::format("{}/profiler_logs_rank_{}_{}", options.trace_dir, rank, name);
}

std::string AllRanksFolder(const BenchOptions& options, std::string_view name) {
  return fmt::format("{}/profiler_logs_all_ranks_{}", options.trace_dir, name);
}

}  // namespace

std::vector<io::NamedFile> TraceFiles(const BenchOptions& options, std::string_view name) {
  std::vector<io::NamedFile> files;
  if (!options.profile) return files;
  const auto add = [&files](const std::string& folder) {
    files.push_back({"--trace_dir", fmt::format("{}/trace{}", folder, kEnding)});
  };
  add(AllRanksFolder(options, name));
  for (int rank = 0; rank < options.tp * options.dp; ++rank) add(RankFolder(options, name, rank));
  return files;
}

Status PrepareTraceFolders(const BenchOptions& options, std::string_view name) {
  for (const io::NamedFile& file : TraceFiles(options, name)) {
    TP_RETURN_IF_ERROR(io::CreateDirectories(file.path.substr(0, file.path.rfind('/'))));
    TP_RETURN_IF_ERROR(io::CheckWritable(file.path));
  }
  return OkStatus();
}

bool WriteTraces(const BenchOptions& options, std::string_view name,
                 const std::vector<Timeline>& timelines, io::Outputs& outputs) {
  bool written = true;
  // Digits alone: the plugin takes them for the time of the recording.
  const int64_t now = CalendarNs() / 1'000'000;  // milliseconds
  for (const Timeline& timeline : timelines) {
    const std::string trace = ToChromeTrace(timeline);
    const std::string of_rank =
        fmt::format("{}/{}_{}.{}{}", RankFolder(options, name, timeline.rank), timeline.host,
                    timeline.process, now, kEnding);
    const std::string of_all = fmt::format("{}/{}_{}.{}{}", AllRanksFolder(options, name),
                                           timeline.host, timeline.rank, now, kEnding);
    for (const std::string& path : {of_rank, of_all}) {
      if (!outputs.Account(io::WriteFileAtomically(path, trace))) written = false;
    }
  }
  return written;
}

}  // namespace tp::bench
