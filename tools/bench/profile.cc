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

std::string RankFolder(const BenchOptions& options, LinearMode mode, int rank) {
  return fmt::format("{}/profiler_logs_rank_{}_{}", options.trace_dir, rank, Name(mode));
}

std::string AllRanksFolder(const BenchOptions& options, LinearMode mode) {
  return fmt::format("{}/profiler_logs_all_ranks_{}", options.trace_dir, Name(mode));
}

}  // namespace

Status PrepareTraceFolders(const BenchOptions& options, int world) {
  for (LinearMode mode : options.modes) {
    std::vector<std::string> folders = {AllRanksFolder(options, mode)};
    for (int rank = 0; rank < world; ++rank) folders.push_back(RankFolder(options, mode, rank));
    for (const std::string& folder : folders) {
      TP_RETURN_IF_ERROR(io::CreateDirectories(folder));
      TP_RETURN_IF_ERROR(io::CheckWritable(fmt::format("{}/trace{}", folder, kEnding)));
    }
  }
  return OkStatus();
}

void WriteTraces(const BenchOptions& options, LinearMode mode,
                 const std::vector<Timeline>& timelines, io::Outputs& outputs) {
  // Digits alone: the plugin takes them for the time of the recording.
  const int64_t now = CalendarNs() / 1'000'000;  // milliseconds
  for (const Timeline& timeline : timelines) {
    const std::string trace = ToChromeTrace(timeline);
    outputs.Account(io::WriteFileAtomically(
        fmt::format("{}/{}_{}.{}{}", RankFolder(options, mode, timeline.rank), timeline.host,
                    timeline.process, now, kEnding),
        trace));
    outputs.Account(
        io::WriteFileAtomically(fmt::format("{}/{}_{}.{}{}", AllRanksFolder(options, mode),
                                            timeline.host, timeline.rank, now, kEnding),
                                trace));
  }
}

}  // namespace tp::bench
