#include "tools/collectives/options.h"

#include <gflags/gflags.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <string>

#include "fmt/format.h"
#include "tools/bench/engine_flags.h"

DEFINE_string(collective, "all",
              "which: all_reduce, all_gather, reduce_scatter, broadcast, all_to_all, several with "
              "a comma between, or all");
DEFINE_string(min_bytes, "1K", "the smallest size: of the whole array, as in nccl-tests");
DEFINE_string(max_bytes, "64M", "the largest size");
DEFINE_int64(factor, 4, "each size is this many times the one before");
DEFINE_int32(per_step, 0,
             "collectives in a timed step, one after the other; 0: 20 of less than 4 MiB, else 3");
DEFINE_int32(steps, 20, "timed steps");
DEFINE_int32(warmup, 5, "steps before the timed ones");

namespace tp::collective_bench {
namespace {

using bench::BadValue;

constexpr int64_t kLarge = 4 << 20;  // sizes from here on need no repeating
constexpr int64_t kMostBytes = int64_t{1} << 40;
constexpr int kMostPerStep = 1000;
// Sums of as many integers stay exact in every element type: bf16 has all up to 256.
constexpr int kMostMembers = 256;

constexpr CollectiveKind kKinds[] = {CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                                     CollectiveKind::kReduceScatter, CollectiveKind::kBroadcast,
                                     CollectiveKind::kAllToAll};

bench::HelpText Help() {
  return {
      "Times the engine's collectives over a range of sizes, and counts every element that is\n"
      "not what it must be: nccl-tests' table, for what a training step calls.\n\n"
      "A step is some collectives of one kind and size, one after the other, lowered from a\n"
      "program's redistributes and run as every step is; on GPUs it is one CUDA graph. The time\n"
      "is that of the step over their number. An all_to_all has the copies that put its blocks\n"
      "in place; a broadcast, which no redistribute needs, takes the place of an all_reduce.\n\n"
      "  collectives [--flag=value ...]\n",
      {{"What is timed",
        {"collective", "min_bytes", "max_bytes", "factor", "dtype", "per_step", "steps", "warmup"}},
       {"Where", {"backend", "tp", "dp", "deadline"}},
       {"Simulated communication", {"algorithm", "scheduler", "scheduler_seed"}},
       {"GPUs", {"graph", "peers"}},
       {"Files and the table", {"json", "verbose"}}}};
}

// Flags of tools that train, which would do nothing here.
Status RefuseTrainingFlags() {
  for (const char* name : {"mode", "lr", "seed", "reduction", "gemm_search", "tensor_cores"}) {
    if (gflags::GetCommandLineFlagInfoOrDie(name).is_default) continue;
    return InvalidArgument(
        fmt::format("--{}: collectives, which trains nothing, has no such flag", name));
  }
  return OkStatus();
}

StatusOr<std::vector<CollectiveKind>> ParseKinds() {
  std::vector<CollectiveKind> kinds;
  if (FLAGS_collective == "all")
    return std::vector<CollectiveKind>(std::begin(kKinds), std::end(kKinds));
  std::istringstream words(FLAGS_collective);
  for (std::string word; std::getline(words, word, ',');) {
    const auto kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                   [&](CollectiveKind k) { return Name(k) == word; });
    if (kind == std::end(kKinds)) {
      return BadValue("collective", FLAGS_collective,
                      "all_reduce, all_gather, reduce_scatter, broadcast, all_to_all, several with "
                      "a comma between, or all");
    }
    if (std::find(kinds.begin(), kinds.end(), *kind) == kinds.end()) kinds.push_back(*kind);
  }
  if (kinds.empty()) return BadValue("collective", FLAGS_collective, "a collective, or all");
  return kinds;
}

Status CheckRanges() {
  const auto within = [](const char* name, int64_t value, int64_t least, int64_t most) -> Status {
    if (value >= least && value <= most) return OkStatus();
    return BadValue(name, std::to_string(value), fmt::format("from {} to {}", least, most).c_str());
  };
  TP_RETURN_IF_ERROR(within("factor", FLAGS_factor, 2, kMostBytes));
  TP_RETURN_IF_ERROR(within("per_step", FLAGS_per_step, 0, kMostPerStep));
  TP_RETURN_IF_ERROR(within("steps", FLAGS_steps, 1, 1 << 20));
  return within("warmup", FLAGS_warmup, 0, 1 << 20);
}

Status ReadBytes(const char* name, const std::string& text, int64_t least, int64_t& bytes) {
  const std::optional<int64_t> parsed = bench::ParseBytes(text);
  if (!parsed || *parsed < least || *parsed > kMostBytes) {
    return BadValue(
        name, text,
        fmt::format("a number of bytes, such as 4096 or 64M, from {} to {}", least, kMostBytes)
            .c_str());
  }
  bytes = *parsed;
  return OkStatus();
}

}  // namespace

std::vector<int64_t> CollectiveOptions::Sizes() const {
  std::vector<int64_t> sizes = {min_bytes};
  while (sizes.back() <= max_bytes / factor) sizes.push_back(sizes.back() * factor);
  return sizes;
}

int CollectiveOptions::PerStep(int64_t bytes) const {
  if (per_step > 0) return per_step;
  return bytes < kLarge ? 20 : 3;
}

StatusOr<CollectiveOptions> ParseCommandLine(int argc, char** argv) {
  TP_RETURN_IF_ERROR(bench::ParseFlags(argc, argv, Help()));
  CollectiveOptions options;
  TP_RETURN_IF_ERROR(bench::ReadEngineFlags(options.engine));
  TP_RETURN_IF_ERROR(RefuseTrainingFlags());
  TP_RETURN_IF_ERROR(CheckRanges());
  if (options.engine.tf32) return BadValue("dtype", "tf32", "fp64, fp32, bf16 or fp16 here");
  TP_ASSIGN_OR_RETURN(options.kinds, ParseKinds());
  TP_RETURN_IF_ERROR(ReadBytes("min_bytes", FLAGS_min_bytes, 1, options.min_bytes));
  TP_RETURN_IF_ERROR(ReadBytes("max_bytes", FLAGS_max_bytes, options.min_bytes, options.max_bytes));
  options.factor = FLAGS_factor;
  options.per_step = FLAGS_per_step;
  options.engine.steps = FLAGS_steps;
  options.engine.warmup = FLAGS_warmup;
  return options;
}

Status CheckGroup(const CollectiveOptions& options) {
  const int tp = options.engine.tp;
  if (tp < 2 || tp > kMostMembers) {
    return BadValue("tp", std::to_string(tp),
                    "from 2 to 256 here: collectives run between the ranks of a tp group");
  }
  const int64_t least = tp * SizeOf(options.engine.dtype);
  if (options.min_bytes >= least) return OkStatus();
  return BadValue("min_bytes", std::to_string(options.min_bytes),
                  fmt::format("at least {}: an element for each of {} ranks", least, tp).c_str());
}

}  // namespace tp::collective_bench
