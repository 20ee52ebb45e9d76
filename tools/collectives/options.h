// What the collectives tool is asked to do, and its command line.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/bench/options.h"
#include "tp/core/collective.h"
#include "tp/core/status.h"

namespace tp::collective_bench {

struct CollectiveOptions {
  bench::BenchOptions engine;  // with its steps and warm-up
  std::vector<CollectiveKind> kinds;
  int64_t min_bytes = 1024;
  int64_t max_bytes = 64 << 20;
  int64_t factor = 4;
  int per_step = 0;  // 0: PerStep chooses

  // min_bytes, min_bytes * factor, ... up to max_bytes.
  std::vector<int64_t> Sizes() const;
  // How many collectives of `bytes` make up a step: enough that what a step costs beside them, and
  // the clock's own steps, do not count.
  int PerStep(int64_t bytes) const;
};

// Parses the command line; see engine_flags.h. Errors: INVALID_ARGUMENT that names the flag.
StatusOr<CollectiveOptions> ParseCommandLine(int argc, char** argv);

// What can only be said once the backend has filled in tp. Errors: INVALID_ARGUMENT.
Status CheckGroup(const CollectiveOptions& options);

}  // namespace tp::collective_bench
