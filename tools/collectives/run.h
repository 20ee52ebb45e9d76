// Runs the cases of a collectives run on a backend: time, bandwidth, bytes, and wrong elements.
//
// A step is handed over twice and the second one is timed, so that all ranks begin it together,
// when the first one's last collective has ended, and no thread's lateness is in the time: from the
// step's beginning to its end on the stream, or from its first op's beginning to its last one's end
// where the backend times ops at no cost. The slowest rank's counts. Before the results are
// checked every buffer is filled with NaN, the inputs are fed anew and one more step runs, so that
// nothing that an earlier step left can pass.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tools/collectives/case.h"
#include "tools/collectives/options.h"
#include "tools/io/progress.h"
#include "tp/core/status.h"
#include "tp/observe/step_report.h"
#include "tp/runtime/backend.h"

namespace tp::collective_bench {

struct Row {
  Case which;
  std::string algorithm;
  bool in_place = false;
  Quantiles time_us;  // of one collective, over the steps
  ClockKind clock = ClockKind::kMeasured;
  double algbw_gbps = 0;  // 10^9 bytes a second, of the median; see tp/core/collective.h
  double busbw_gbps = 0;
  int64_t checked = 0;          // elements of results, on all ranks
  int64_t wrong = 0;            // of those
  int64_t moved_bytes = 0;      // of one collective, by all ranks together: counted
  int64_t algorithm_bytes = 0;  // what its algorithm says that is
  int64_t contract_bytes = 0;   // the least that it can be
  bool bytes_ok() const { return moved_bytes == algorithm_bytes && moved_bytes >= contract_bytes; }
  bool ok() const { return wrong == 0 && bytes_ok(); }
};

struct CollectiveResult {
  std::vector<std::pair<std::string, std::string>> host;
  std::vector<Row> rows;  // by kind, then size; none where another process has rank 0
  bool complete = true;   // false: interrupted
  bool ok() const;
};

// What a run tells while it goes on; each may be empty. On rank 0's process only.
struct RunHooks {
  // Nothing can be refused any more: `host` is there.
  std::function<void(const CollectiveResult&)> started = nullptr;
  // A row is there, the last one; called on a rank's thread.
  std::function<void(const CollectiveResult&)> row_done = nullptr;
  // Ctrl-C: writes what is there, and then the process ends. Where this is empty, the run takes no
  // notice of signals.
  std::function<void(const CollectiveResult&)> interrupted = nullptr;
  io::Progress* progress = nullptr;
};

// `options.engine.tp` must be filled in. Errors: the backend's, or too little memory.
StatusOr<CollectiveResult> RunCollectives(Backend& backend, const CollectiveOptions& options,
                                          const RunHooks& hooks = {});

}  // namespace tp::collective_bench
