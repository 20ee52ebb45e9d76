#include "tools/benchmark/options.h"

#include <gflags/gflags.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>

#include "fmt/format.h"
#include "tools/io/paths.h"

DEFINE_string(backend, "sim", "where the ranks run: sim (threads on this CPU) or nccl (GPUs)");
DEFINE_string(mode, "both", "how W is split over tp: row, column or both");
DEFINE_int32(
    tp, 0,
    "ranks over which the layer is split; 0: 2 for sim, and for nccl all GPUs, divided by dp");
DEFINE_int32(dp, 1, "ranks over which the batch is split; the world is tp x dp");
DEFINE_int64(tokens, 20, "rows of X and Y: the global batch");
DEFINE_int64(in_features, 1000, "columns of X and of W");
DEFINE_int64(out_features, 1000, "rows of W, columns of Y");
DEFINE_string(
    dtype, "fp32",
    "element type: fp64, fp32, bf16, fp16, or tf32 (fp32 whose products round to tf32; nccl)");
DEFINE_int32(steps, 10, "timed steps");
DEFINE_int32(warmup, 2, "steps before the timed ones; they train, too");
DEFINE_double(lr, 0.01, "learning rate of SGD");
DEFINE_bool(floor, true, "also time the matrix products alone: the floor under the step");
DEFINE_uint64(seed, 0, "of the generated tensors");
DEFINE_string(algorithm, "auto",
              "of all_reduce in the simulator: auto, ring, tree, halving_doubling or direct; other "
              "collectives take their own best one");
DEFINE_string(scheduler, "free",
              "of the simulator: free (threads at full speed) or seeded (one agent at a time, "
              "replayable)");
DEFINE_uint64(scheduler_seed, 0, "which order the seeded scheduler takes");
DEFINE_bool(graph, true, "run the step as one CUDA graph, rather than launch it op by op");
DEFINE_bool(gemm_search, true,
            "choose the algorithm of each product by measuring; without, take cuBLASLt's first");
DEFINE_double(deadline, 30, "seconds after which a wait for another rank is an error");
DEFINE_string(verify, "auto",
              "hold the results against an independent fp64 reference: auto (all of it, or a "
              "sample where that is much), full or off");
DEFINE_string(json, "", "write the results to this file");
DEFINE_string(load, "",
              "read x.npy, targets.npy, w.npy, b.npy from this folder; what is missing is "
              "generated");
DEFINE_string(dump, "",
              "write <mode>/{y,dx,dw,db,w,b,losses}.npy to this folder: y and the gradients of "
              "step 0, w and b after the last step");

namespace tp::bench {
namespace {

struct Topic {
  const char* title;
  std::vector<const char*> flags;
};

const std::vector<Topic>& Topics() {
  static const auto& topics = *new std::vector<Topic>{
      {"What runs", {"backend", "mode", "tp", "dp", "deadline"}},
      {"The layer", {"tokens", "in_features", "out_features", "dtype"}},
      {"Training", {"steps", "warmup", "floor", "lr", "seed"}},
      {"Simulated communication", {"algorithm", "scheduler", "scheduler_seed"}},
      {"GPUs", {"graph", "gemm_search"}},
      {"Files and checks", {"load", "dump", "json", "verify"}},
  };
  return topics;
}

constexpr char kNaming[] = R"(
Names of the modes. W is stored [out_features, in_features], as in PyTorch; a mode says which
dimension of it is sharded. Other systems name the same layers after the transposed matrix:

  here     W         output             Megatron-LM       PyTorch DTensor
  row      Shard(0)  gathered           column-parallel   ColwiseParallel
  column   Shard(1)  summed             row-parallel      RowwiseParallel
)";

void PrintHelp() {
  fmt::print(
      "Trains one linear layer split over ranks by rows and by columns of its weight, times it,\n"
      "counts its bytes, and proves that the ways of splitting agree.\n\n"
      "  bench [--flag=value ...]\n");
  for (const Topic& topic : Topics()) {
    fmt::print("\n{}\n", topic.title);
    for (const char* name : topic.flags) {
      const gflags::CommandLineFlagInfo info = gflags::GetCommandLineFlagInfoOrDie(name);
      const std::string head =
          fmt::format("--{}={}", name, info.default_value.empty() ? "..." : info.default_value);
      fmt::print("  {:<26} {}\n", head, info.description);
    }
  }
  fmt::print("{}\nExit status: 0 if every check held, 1 if one did not or the input was wrong.\n",
             kNaming);
}

Status BadValue(const char* flag, const std::string& value, const char* allowed) {
  return InvalidArgument(fmt::format("--{}={}: it must be {}", flag, value, allowed));
}

Status CheckRanges() {
  const std::pair<const char*, int64_t> positive[] = {{"dp", FLAGS_dp},
                                                      {"tokens", FLAGS_tokens},
                                                      {"in_features", FLAGS_in_features},
                                                      {"out_features", FLAGS_out_features},
                                                      {"steps", FLAGS_steps}};
  for (const auto& [name, value] : positive) {
    if (value < 1) return BadValue(name, std::to_string(value), "at least 1");
  }
  if (FLAGS_tp < (gflags::GetCommandLineFlagInfoOrDie("tp").is_default ? 0 : 1)) {
    return BadValue("tp", std::to_string(FLAGS_tp), "at least 1");
  }
  if (FLAGS_warmup < 0) return BadValue("warmup", std::to_string(FLAGS_warmup), "at least 0");
  if (!std::isfinite(FLAGS_lr)) return BadValue("lr", std::to_string(FLAGS_lr), "a finite number");
  constexpr double kLongestDeadline = 1e6;  // seconds; a clock can still add it
  if (!(FLAGS_deadline > 0 && FLAGS_deadline <= kLongestDeadline)) {
    return BadValue("deadline", std::to_string(FLAGS_deadline),
                    "a number of seconds above 0, at most a million");
  }
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
  if (FLAGS_scheduler != "free" && FLAGS_scheduler != "seeded") {
    return BadValue("scheduler", FLAGS_scheduler, "free or seeded");
  }
  options.seeded = FLAGS_scheduler == "seeded";
  if (FLAGS_verify != "auto" && FLAGS_verify != "full" && FLAGS_verify != "off") {
    return BadValue("verify", FLAGS_verify, "auto, full or off");
  }
  options.verify = FLAGS_verify == "auto"   ? VerifyMode::kAuto
                   : FLAGS_verify == "full" ? VerifyMode::kFull
                                            : VerifyMode::kOff;
  return OkStatus();
}

// gflags' own help lists flags by source file; ours lists them by topic.
void AnswerHelp(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0 || std::strcmp(argv[i], "-help") == 0 ||
        std::strcmp(argv[i], "-h") == 0) {
      PrintHelp();
      std::exit(0);
    }
  }
}

}  // namespace

std::string DTypeName(const BenchOptions& options) {
  return options.tf32 ? "tf32" : std::string(Name(options.dtype));
}

StatusOr<BenchOptions> ParseCommandLine(int argc, char** argv) {
  AnswerHelp(argc, argv);
  gflags::ParseCommandLineFlags(&argc, &argv, /*remove_flags=*/true);
  if (argc > 1) {
    return InvalidArgument(
        fmt::format("'{}' is no flag; flags are --name=value, see --help", argv[1]));
  }
  TP_RETURN_IF_ERROR(CheckRanges());
  BenchOptions options;
  TP_RETURN_IF_ERROR(ParseNames(options));
  options.tp = FLAGS_tp;
  options.dp = FLAGS_dp;
  options.tokens = FLAGS_tokens;
  options.in_features = FLAGS_in_features;
  options.out_features = FLAGS_out_features;
  options.steps = FLAGS_steps;
  options.warmup = FLAGS_warmup;
  options.learning_rate = FLAGS_lr;
  options.graph = FLAGS_graph;
  options.gemm_search = FLAGS_gemm_search;
  options.seed = FLAGS_seed;
  options.floor = FLAGS_floor;
  options.scheduler_seed = FLAGS_scheduler_seed;
  options.deadline = std::chrono::milliseconds(std::llround(std::ceil(FLAGS_deadline * 1000)));
  options.json = io::ResolvePath(FLAGS_json);
  options.load = io::ResolvePath(FLAGS_load);
  options.dump = io::ResolvePath(FLAGS_dump);
  return options;
}

}  // namespace tp::bench
