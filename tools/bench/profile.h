// The traces of a profiled run, as files that TensorBoard's profiler plugin finds.
//
//   DIR/profiler_logs_rank_<R>_<mode>/<host>_<process>.<time>.pt.trace.json
//   DIR/profiler_logs_all_ranks_<mode>/<host>_<R>.<time>.pt.trace.json
//
// The plugin compares the files of one folder, so the second has every rank: its Distributed view
// shows all of them side by side.
#pragma once

#include <string>
#include <vector>

#include "tools/bench/options.h"
#include "tools/io/outputs.h"
#include "tp/core/status.h"
#include "tp/layers/linear.h"
#include "tp/observe/timeline.h"

namespace tp::bench {

// Makes the folders of `options.modes` and a world of `world`. Errors: the folder that can't be
// made or written to. To be asked before long work.
Status PrepareTraceFolders(const BenchOptions& options, int world);

// One file a rank in each of the two folders, whole or not at all; goes on where one can't be
// written.
void WriteTraces(const BenchOptions& options, LinearMode mode,
                 const std::vector<Timeline>& timelines, io::Outputs& outputs);

}  // namespace tp::bench
