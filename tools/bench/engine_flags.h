// The flags of every tool that runs the engine, and how a tool reads its command line.
//
// engine_flags.cc defines what says how the engine runs: --backend, --mode, --tp, --dp, --deadline,
// --dtype, --lr, --seed, --algorithm, --reduction, --scheduler, --scheduler_seed, --graph,
// --gemm_search, --peers, --sum_part_bytes; and --json, --verbose. A tool defines its own ones
// beside them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/bench/options.h"
#include "tp/core/status.h"

namespace tp::bench {

struct HelpTopic {
  const char* title;
  std::vector<const char*> flags;
};
struct HelpText {
  const char* intro;
  std::vector<HelpTopic> topics;
};

// Parses the command line into the flags. Prints the help or the version and exits with 0 where
// that is asked for; gflags itself exits with 1 and one line for an unknown flag or a value of the
// wrong type. Errors: INVALID_ARGUMENT for a word that is no flag, or a flag that is there twice; a
// help or a version that can't be written.
Status ParseFlags(int argc, char** argv, const HelpText& help);

// What those flags say. Errors: INVALID_ARGUMENT that names the flag, its value, and what it may
// be.
Status ReadEngineFlags(BenchOptions& options);

// That error.
Status BadValue(const char* flag, const std::string& value, const char* allowed);

// A number of bytes: digits, and K, M, G or T behind them, large or small, for powers of 1024 (KiB
// and so on mean the same). None for anything else, or what an int64_t can't hold.
std::optional<int64_t> ParseBytes(std::string_view text);

}  // namespace tp::bench
