#include "tools/bench/engine_flags.h"

#include <gflags/gflags.h>

#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>

#include "fmt/format.h"
#include "tools/io/outputs.h"
#include "tools/io/paths.h"
#include "tools/io/table.h"
#include "tp/core/version.h"

DECLARE_bool(version);  // gflags' own

DEFINE_string(backend, "sim", "where the ranks run: sim (threads on this CPU) or nccl (GPUs)");
DEFINE_string(mode, "both", "how W is split over tp: row, column or both");
DEFINE_int32(
    tp, 0,
    "ranks over which the layer is split; 0: 2 for sim, and for nccl all GPUs, divided by dp");
DEFINE_int32(dp, 1, "ranks over which the batch is split; the world is tp x dp");
DEFINE_string(
    dtype, "fp32",
    "element type: fp64, fp32, bf16, fp16, or tf32 (fp32 whose products round to tf32; nccl)");
DEFINE_double(lr, 0.01, "learning rate");
DEFINE_uint64(seed, 0, "of the generated tensors");
DEFINE_string(algorithm, "auto",
              "of all_reduce in the simulator: auto, ring, tree, halving_doubling or direct; other "
              "collectives take their own best one");
DEFINE_string(reduction, "fast",
              "order of sums: fast, or invariant, which gives every result the same bits for each "
              "tp that divides 24, in both modes");
DEFINE_string(scheduler, "free",
              "of the simulator: free (threads at full speed) or seeded (one agent at a time, "
              "replayable)");
DEFINE_uint64(scheduler_seed, 0, "which order the seeded scheduler takes");
DEFINE_bool(graph, true, "run the step as one CUDA graph, rather than launch it op by op");
DEFINE_bool(gemm_search, true,
            "choose the algorithm of each product by measuring; without, take cuBLASLt's first");
DEFINE_bool(tensor_cores, true,
            "with --reduction=invariant, multiply bf16 and fp16 on tensor cores; without, each "
            "result has the bits that --backend=sim gives it, and takes many times as long");
DEFINE_string(
    peers, "auto",
    "which collectives run over the GPUs' access to one another's memory: auto (all that "
    "have it, in the way that was measured to be fastest), never (NCCL runs them), or one "
    "way for all: direct, medium, bulk");
DEFINE_string(sum_part_bytes, "-1",
              "cut the sums of products over ranks into parts of at least so many bytes (64K, 1M), "
              "which overlap with the products; 0: don't; -1: the backend's own choice");
DEFINE_double(deadline, 30, "seconds after which a wait for another rank is an error");
DEFINE_string(json, "", "write the results to this file");
DEFINE_bool(verbose, false, "show tables also of what is as it must be");

namespace tp::bench {
namespace {

constexpr char kNaming[] = R"(
Names of the modes. W is stored [out_features, in_features], as in PyTorch; a mode says which
dimension of it is sharded. Other systems name the same layers after the transposed matrix:

  here     W         output             Megatron-LM       PyTorch DTensor
  row      Shard(0)  gathered           column-parallel   ColwiseParallel
  column   Shard(1)  summed             row-parallel      RowwiseParallel
)";

// gflags writes a number with seventeen digits.
std::string DefaultOf(const gflags::CommandLineFlagInfo& info) {
  if (info.type == "double") return fmt::format("{}", std::stod(info.default_value));
  return info.default_value.empty() ? "..." : info.default_value;
}

std::string RenderHelp(const HelpText& help) {
  std::string text = help.intro;
  for (const HelpTopic& topic : help.topics) {
    text += fmt::format("\n{}\n", topic.title);
    for (const char* name : topic.flags) {
      const gflags::CommandLineFlagInfo info = gflags::GetCommandLineFlagInfoOrDie(name);
      constexpr int kIndent = 30;
      const std::string head =
          fmt::format("  {:<{}} ", fmt::format("--{}={}", name, DefaultOf(info)), kIndent - 3);
      const int used = static_cast<int>(head.size());  // more than kIndent by a long default
      text += head + io::Wrap(info.description, kIndent, used) + "\n";
    }
  }
  return text + kNaming +
         "\nExit status: 0 if every check held, 1 if one did not or the input was wrong, 3 if "
         "none\n"
         "failed but one could not be decided.\n";
}

// gflags' own help lists flags by source file; ours lists them by topic.
bool AsksForHelp(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0 || std::strcmp(argv[i], "-help") == 0 ||
        std::strcmp(argv[i], "-h") == 0) {
      return true;
    }
  }
  return false;
}

// The flag that a word of the command line gives, if one is known, by its own name; gflags takes
// `--noname` for `--name=false`.
std::optional<gflags::CommandLineFlagInfo> FlagOf(std::string_view word) {
  if (!word.starts_with('-')) return std::nullopt;
  word.remove_prefix(word.starts_with("--") ? 2 : 1);
  const std::string name(word.substr(0, word.find('=')));
  gflags::CommandLineFlagInfo info;
  if (gflags::GetCommandLineFlagInfo(name.c_str(), &info)) return info;
  const bool negated = name.starts_with("no") &&
                       gflags::GetCommandLineFlagInfo(name.c_str() + 2, &info) &&
                       info.type == "bool";
  return negated ? std::optional(info) : std::nullopt;
}

// A flag that is given again would win, and what was said before be lost.
Status RefuseFlagsGivenTwice(int argc, char** argv) {
  std::set<std::string> given;
  for (int i = 1; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
    const auto flag = FlagOf(argv[i]);
    if (!flag) continue;  // what is no flag is said elsewhere
    if (!given.insert(flag->name).second) {
      return InvalidArgument(
          fmt::format("--{} is there more than once, the second time as '{}'; give it one value",
                      flag->name, argv[i]));
    }
    const bool value_follows = flag->type != "bool" && std::strchr(argv[i], '=') == nullptr;
    if (value_follows) ++i;
  }
  return OkStatus();
}

// Ends the program, unless the text is lost: gflags, asked for the version, would not look.
Status SayAndExit(const std::string& text) {
  io::Outputs outputs;
  outputs.Print(text);
  for (const Status& error : outputs.errors()) return error;
  std::exit(0);
}

Status CheckRanges() {
  if (FLAGS_dp < 1) return BadValue("dp", std::to_string(FLAGS_dp), "at least 1");
  if (FLAGS_tp < 0) {
    return BadValue("tp", std::to_string(FLAGS_tp), "at least 1, or 0 for the backend's choice");
  }
  if (FLAGS_sum_part_bytes != "-1" && !ParseBytes(FLAGS_sum_part_bytes)) {
    return BadValue("sum_part_bytes", FLAGS_sum_part_bytes,
                    "-1, 0, or a number of bytes, such as 64K");
  }
  if (!std::isfinite(FLAGS_lr))
    return BadValue("lr", fmt::format("{:g}", FLAGS_lr), "a finite number");
  constexpr double kLongestDeadline = 1e6;  // seconds; a clock can still add it
  if (!(FLAGS_deadline > 0 && FLAGS_deadline <= kLongestDeadline)) {
    return BadValue("deadline", std::to_string(FLAGS_deadline),
                    "a number of seconds above 0, at most a million");
  }
  return OkStatus();
}

Status ParseReduction(BenchOptions& options) {
  const std::optional<SumOrder> sum_order = ParseSumOrder(FLAGS_reduction);
  if (!sum_order) return BadValue("reduction", FLAGS_reduction, "fast or invariant");
  if (*sum_order == SumOrder::kInvariant && options.tf32) {
    return BadValue("reduction", FLAGS_reduction,
                    "fast with --dtype=tf32, whose products are tensor cores', in an order of "
                    "their own");
  }
  for (const auto& [name, value] : {std::pair("tp", FLAGS_tp), std::pair("dp", FLAGS_dp)}) {
    const bool chosen = value > 0;  // else it is the backend's own
    if (*sum_order == SumOrder::kFast || !chosen || SplitsIntoBlocks(value)) continue;
    return BadValue(name, std::to_string(value),
                    "a divisor of 24 with --reduction=invariant, such as 1, 2, 3, 4, 6 or 8");
  }
  options.sum_order = *sum_order;
  return OkStatus();
}

Status ParseNames(BenchOptions& options) {
  if (FLAGS_backend != "sim" && FLAGS_backend != "nccl") {
    return BadValue("backend", FLAGS_backend, "sim or nccl");
  }
  options.backend = FLAGS_backend;
  if (FLAGS_mode != "both") {
    const std::optional<LinearMode> mode = ParseLinearMode(FLAGS_mode);
    if (!mode) return BadValue("mode", FLAGS_mode, "row, column or both");
    options.modes = {*mode};
  }
  options.tf32 = FLAGS_dtype == "tf32";
  const std::optional<DType> dtype = options.tf32 ? DType::kFloat32 : ParseDType(FLAGS_dtype);
  if (!dtype) return BadValue("dtype", FLAGS_dtype, "fp64, fp32, bf16, fp16 or tf32");
  if (options.tf32 && FLAGS_backend == "sim") {
    return BadValue("dtype", FLAGS_dtype,
                    "another one here: tf32 is a mode of GPUs (--backend=nccl)");
  }
  options.dtype = *dtype;
  const std::optional<sim::Algorithm> algorithm = sim::ParseAlgorithm(FLAGS_algorithm);
  if (!algorithm) {
    return BadValue("algorithm", FLAGS_algorithm, "auto, ring, tree, halving_doubling or direct");
  }
  options.algorithm = *algorithm;
  TP_RETURN_IF_ERROR(ParseReduction(options));
  const auto peers = nccl::ParsePeers(FLAGS_peers);
  if (!peers) return BadValue("peers", FLAGS_peers, "auto, never, direct, medium or bulk");
  options.peers = *peers;
  if (FLAGS_scheduler != "free" && FLAGS_scheduler != "seeded") {
    return BadValue("scheduler", FLAGS_scheduler, "free or seeded");
  }
  options.seeded = FLAGS_scheduler == "seeded";
  return OkStatus();
}

}  // namespace

std::optional<int64_t> ParseBytes(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return std::nullopt;
  std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  for (const char* ending : {"iB", "B"}) {
    if (unit.ends_with(ending)) {
      unit.remove_suffix(std::strlen(ending));
      break;
    }
  }
  if (unit.empty()) return number;
  constexpr std::string_view kUnits = "KMGT";
  const size_t power =
      kUnits.find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit.front()))));
  if (unit.size() != 1 || power == std::string_view::npos) return std::nullopt;
  if (__builtin_mul_overflow(number, int64_t{1} << (10 * (power + 1)), &number)) {
    return std::nullopt;
  }
  return number;
}

Status BadValue(const char* flag, const std::string& value, const char* allowed) {
  return InvalidArgument(fmt::format("--{}={}: it must be {}", flag, value, allowed));
}

Status ParseFlags(int argc, char** argv, const HelpText& help) {
  if (AsksForHelp(argc, argv)) return SayAndExit(RenderHelp(help));
  TP_RETURN_IF_ERROR(RefuseFlagsGivenTwice(argc, argv));
  gflags::ParseCommandLineNonHelpFlags(&argc, &argv, /*remove_flags=*/true);
  if (FLAGS_version) {
    return SayAndExit(
        fmt::format("{} version {}\n", gflags::ProgramInvocationShortName(), kVersion));
  }
  gflags::HandleCommandLineHelpFlags();
  if (argc == 1) return OkStatus();
  return InvalidArgument(
      fmt::format("'{}' is no flag; flags are --name=value, see --help", argv[1]));
}

Status ReadEngineFlags(BenchOptions& options) {
  TP_RETURN_IF_ERROR(CheckRanges());
  TP_RETURN_IF_ERROR(ParseNames(options));
  options.tp = FLAGS_tp;
  options.dp = FLAGS_dp;
  const DType wide = AccumulatorOf(options.dtype);
  if (std::abs(FLAGS_lr) > MaxFinite(wide)) {
    return BadValue("lr", fmt::format("{:g}", FLAGS_lr),
                    fmt::format("at most {:g} in size with --dtype={}, whose updates are computed "
                                "in {}",
                                MaxFinite(wide), FLAGS_dtype, Name(wide))
                        .c_str());
  }
  options.learning_rate = FLAGS_lr;
  options.graph = FLAGS_graph;
  options.gemm_search = FLAGS_gemm_search;
  options.tensor_cores = FLAGS_tensor_cores;
  options.sum_part_bytes = ParseBytes(FLAGS_sum_part_bytes).value_or(-1);
  options.verbose = FLAGS_verbose;
  options.seed = FLAGS_seed;
  options.scheduler_seed = FLAGS_scheduler_seed;
  options.deadline = std::chrono::milliseconds(std::llround(std::ceil(FLAGS_deadline * 1000)));
  options.json = io::ResolvePath(FLAGS_json);
  return OkStatus();
}

}  // namespace tp::bench
