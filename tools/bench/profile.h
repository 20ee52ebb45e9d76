// The traces of a profiled run, as files that TensorBoard's profiler plugin finds.
//
//   DIR/profiler_logs_rank_<R>_<name>/<host>_<process>.<time>.pt.trace.json
//   DIR/profiler_logs_all_ranks_<name>/<host>_<R>.<time>.pt.trace.json
//
// The plugin compares the files of one folder, so the second has every rank: its Distributed view
// shows all of them side by side.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/bench/options.h"
#include "tools/io/outputs.h"
#include "tools/io/paths.h"
#include "tp/core/status.h"
#include "tp/observe/timeline.h"

namespace tp::bench {

// A file in each folder of a run, which is called so ("row"): its own name has the time of the
// recording. None where no profile is asked for.
std::vector<io::NamedFile> TraceFiles(const BenchOptions& options, std::string_view name);

// Makes the folders of a run, which is called so: "row". Errors: the folder that can't be made or
// written to. To be asked before long work.
Status PrepareTraceFolders(const BenchOptions& options, std::string_view name);

// One file a rank in each of the two folders, whole or not at all; goes on where one can't be
// written. Returns whether all are there.
bool WriteTraces(const BenchOptions& options, std::string_view name,
                 const std::vector<Timeline>& timelines, io::Outputs& outputs);

}  // namespace tp::bench
