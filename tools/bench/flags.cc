#include "tools/bench/flags.h"

#include <gflags/gflags.h>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tools/bench/data.h"
#include "tools/bench/engine_flags.h"
#include "tools/io/paths.h"

DEFINE_int64(tokens, 20, "rows of X and Y: the global batch; without, that of what --load reads");
DEFINE_int64(in_features, 1000, "columns of X and of W; likewise");
DEFINE_int64(out_features, 1000, "rows of W, columns of Y; likewise");
DEFINE_int32(steps, 10, "timed steps");
DEFINE_int32(warmup, 2, "steps before the timed ones; they train, too");
DEFINE_bool(floor, true, "also time the matrix products alone: the floor under the step");
DEFINE_bool(
    peak, true,
    "also time large products on all ranks, to say which share of that rate a step reaches");
DEFINE_bool(speedup, false, "also time the layer with tp 1, to say how much faster the modes are");
DEFINE_string(verify, "auto",
              "hold the results against an independent fp64 reference: auto (all of it, or a "
              "sample where that is much), full or off");
DEFINE_string(load, "",
              "read x.npy, targets.npy, w.npy, b.npy from this folder, and the sizes from them; "
              "what is missing is generated");
DEFINE_string(dump, "",
              "write <mode>/{y,dx,dw,db,w,b,losses}.npy to this folder: y and the gradients of "
              "step 0, w and b after the last step");
DEFINE_bool(profile, false,
            "also run as many steps profiled, and write a trace of the last ones for each rank and "
            "mode, for TensorBoard and Perfetto");
DEFINE_string(trace_dir, ".", "the folder in which --profile makes its folders");

namespace tp::bench {
namespace {

HelpText Help() {
  std::vector<HelpTopic> topics = {
      {"What runs", {"backend", "mode", "tp", "dp", "reduction", "deadline"}},
      {"The layer", {"tokens", "in_features", "out_features", "dtype"}},
      {"Training", {"steps", "warmup", "floor", "peak", "speedup", "lr", "seed"}},
      {"Overlap", {"sum_part_bytes"}},
      {"Simulated communication", {"algorithm", "scheduler", "scheduler_seed"}},
      {"GPUs", {"graph", "gemm_search", "tensor_cores", "peers"}},
      {"Files and checks", {"load", "dump", "json", "verify", "verbose"}},
      {"Profiling", {"profile", "trace_dir"}},
  };
  std::vector<HelpTopic> model = train::ModelTopics();
  model.push_back(train::PartTopic());
  topics.insert(topics.begin() + 2, model.begin(), model.end());
  return {
      "Trains one linear layer split over ranks by rows and by columns of its weight, times it,\n"
      "counts its bytes, and proves that the ways of splitting agree. Or times a transformer's\n"
      "step (--model or --hf), with weights drawn by the seed; of --hf it takes the sizes alone.\n"
      "--part times forward and backward of one of its layers.\n"
      "Its values are for verify to prove: --verify, --load, --dump, --speedup, --mode and the\n"
      "layer's sizes are refused there. Its --lr is 0.003 unless it is given.\n\n"
      "  bench [--flag=value ...]\n"
      "  bench --model=llama-tiny --tp=2 [--flag=value ...]\n"
      "  bench --model=llama3-8b --part=block --batch=1 --sequence=4096 --tp=2 --dtype=bf16\n",
      topics};
}

bool Given(const char* name) { return !gflags::GetCommandLineFlagInfoOrDie(name).is_default; }

// Flags of the step that is not asked for.
Status RefuseFlagsOfTheOther(bool model) {
  if (model) {
    for (const char* name :
         {"mode", "tokens", "in_features", "out_features", "load", "dump", "verify", "speedup"}) {
      if (!Given(name)) continue;
      return InvalidArgument(
          fmt::format("--{} is of the linear layer's step, and --model and --hf ask for a "
                      "transformer's",
                      name));
    }
    return OkStatus();
  }
  return train::RefuseFlagsOfAModel();
}

Status CheckRanges() {
  const std::pair<const char*, int64_t> positive[] = {{"tokens", FLAGS_tokens},
                                                      {"in_features", FLAGS_in_features},
                                                      {"out_features", FLAGS_out_features},
                                                      {"steps", FLAGS_steps}};
  for (const auto& [name, value] : positive) {
    if (value < 1) return BadValue(name, std::to_string(value), "at least 1");
  }
  if (!FLAGS_profile && !gflags::GetCommandLineFlagInfoOrDie("trace_dir").is_default) {
    return InvalidArgument(
        "--trace_dir says where traces go, and without --profile there are none");
  }
  if (FLAGS_profile && FLAGS_trace_dir.empty()) {
    return BadValue("trace_dir", FLAGS_trace_dir, "a folder");
  }
  const int most = std::numeric_limits<int32_t>::max() - FLAGS_steps;  // warm-up steps count, too
  if (FLAGS_warmup < 0 || FLAGS_warmup > most) {
    return BadValue("warmup", std::to_string(FLAGS_warmup),
                    fmt::format("from 0 to {} with --steps={}", most, FLAGS_steps).c_str());
  }
  return OkStatus();
}

}  // namespace

StatusOr<CommandLine> ParseCommandLine(int argc, char** argv) {
  TP_RETURN_IF_ERROR(ParseFlags(argc, argv, Help()));
  CommandLine asked;
  BenchOptions& options = asked.options;
  TP_ASSIGN_OR_RETURN(asked.model, train::ReadModelFlags());
  TP_RETURN_IF_ERROR(RefuseFlagsOfTheOther(asked.model.given()));
  if (asked.model.given() && !Given("lr")) {
    gflags::SetCommandLineOptionWithMode("lr", train::kDefaultRate, gflags::SET_FLAGS_DEFAULT);
  }
  TP_RETURN_IF_ERROR(ReadEngineFlags(options));
  TP_RETURN_IF_ERROR(CheckRanges());
  if (FLAGS_verify != "auto" && FLAGS_verify != "full" && FLAGS_verify != "off") {
    return BadValue("verify", FLAGS_verify, "auto, full or off");
  }
  options.verify = FLAGS_verify == "auto"   ? VerifyMode::kAuto
                   : FLAGS_verify == "full" ? VerifyMode::kFull
                                            : VerifyMode::kOff;
  options.tokens = FLAGS_tokens;
  options.in_features = FLAGS_in_features;
  options.out_features = FLAGS_out_features;
  options.tokens_given = Given("tokens");
  options.in_features_given = Given("in_features");
  options.out_features_given = Given("out_features");
  options.steps = FLAGS_steps;
  options.warmup = FLAGS_warmup;
  options.floor = FLAGS_floor;
  options.peak = FLAGS_peak;
  options.speedup = FLAGS_speedup;
  options.load = io::ResolvePath(FLAGS_load);
  options.dump = io::ResolvePath(FLAGS_dump);
  options.profile = FLAGS_profile;
  options.trace_dir = io::ResolvePath(FLAGS_trace_dir);
  TP_RETURN_IF_ERROR(TakeSizesFromFiles(options));
  return asked;
}

}  // namespace tp::bench
