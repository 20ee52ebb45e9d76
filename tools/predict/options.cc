#include "tools/predict/options.h"

#include <gflags/gflags.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "fmt/format.h"
#include "tools/bench/engine_flags.h"
#include "tools/io/paths.h"

DEFINE_string(machine, "preset:h100x8-ib400",
              "preset:NAME, as in h100x8-ib400 (a GPU, how many in a node, Gbit/s of each on the "
              "network), or a machine's file");
DEFINE_string(fit, "", "fit the machine to the measurements in this file");
DEFINE_string(model, "", "a transformer by name, as in llama3-70b; without, the linear step");
DEFINE_string(part, "",
              "one layer's forward and backward alone: block, or mlp; without, the whole model's");
DEFINE_int64(batch, 0, "sequences of the global batch; 0: one for each rank of dp, in a sweep 128");
DEFINE_int64(sequence, 4096, "tokens of each");
DEFINE_bool(sequence_parallel, false, "split what lies between the products over tp, too");
DEFINE_bool(recompute, false, "make activations again in the backward pass");
DEFINE_int32(micro_batches, 1, "parts of the batch that are taken one after the other");
DEFINE_bool(overlap, false, "have collectives run beside what does not need them, where that pays");
DEFINE_int32(strands, 1, "micro-batches that are under way at one time");
DEFINE_bool(masters, true,
            "AdamW keeps fp32 copies of bf16 and fp16 weights; --nomasters saves 4 bytes a weight, "
            "and loses each update below half a unit in the weight's last place");
DEFINE_int64(tokens, 4096, "of the linear step: rows of X and Y");
DEFINE_int64(in_features, 4096, "of the linear step: columns of X and of W");
DEFINE_int64(out_features, 4096, "of the linear step: rows of W");
DEFINE_string(sweep, "", "meshes to compare, each size twice the one before: tp:1..8,dp:1..128");
DEFINE_int32(top, 5, "how many of them to show, by the time of a step");
DEFINE_string(straggler, "", "devices whose work takes longer: 17:1.3, several with commas");
DEFINE_string(link, "", "pairs of devices that have less between them: 3-4:0.25");
DEFINE_string(trace_dir, "", "write a Chrome trace of each kind of rank into this folder");
DEFINE_string(chakra, "",
              "write each rank's step as a Chakra execution trace: NAME.RANK.et, and the groups of "
              "ranks to NAME.groups.json");
DEFINE_string(calibrate, "", "measure this machine, by --backend, and write its file");
DEFINE_int32(calibrate_seconds, 180,
             "measure in as many rounds as fit into this time; one round is always made");
DEFINE_string(time_ops, "",
              "time the ops of what is predicted or scored on one device of --backend, without "
              "collectives, predict from these times, and write them to this file");
DEFINE_string(ops, "", "predict from the times of ops in this file, which --time_ops wrote");
DEFINE_string(score, "", "hold the machine's predictions against the measurements in this file");

namespace tp::predict_tool {
namespace {

using bench::BadValue;

bench::HelpText Help() {
  return {
      "Predicts a training step on a machine that need not be there: the schedules that would\n"
      "run are replayed in virtual time. Every number is predicted; a preset's are unvalidated.\n\n"
      "  predict --machine=preset:h100x8-ib400 --model=llama3-70b --tp=8 --dp=16\n"
      "  predict --machine=preset:h100x8-ib400 --model=llama3-70b --sweep=tp:1..8,dp:1..128 "
      "--json=F\n"
      "  predict --calibrate=my.machine --backend=sim\n"
      "  predict --machine=my.machine --score=heldout.json\n"
      "  predict --machine=preset:h100x8 --model=llama3-8b --tp=8 --time_ops=F --backend=nccl\n",
      {{"The machine", {"machine", "fit", "straggler", "link", "algorithm"}},
       {"The step",
        {"model", "part", "batch", "sequence", "sequence_parallel", "recompute", "micro_batches",
         "overlap", "strands", "masters", "mode", "tokens", "in_features", "out_features", "dtype",
         "tp", "dp", "sum_part_bytes"}},
       {"Many of them", {"sweep", "top"}},
       {"Measurements",
        {"calibrate", "calibrate_seconds", "backend", "score", "time_ops", "ops", "verbose"}},
       {"Files", {"trace_dir", "chakra", "json"}}}};
}

template <typename Number>
std::optional<Number> Parse(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) parts.push_back(word);
  return parts;
}

// "17:1.3"
Status ParseStragglers(PredictOptions& options) {
  for (const std::string& part : Split(FLAGS_straggler)) {
    const size_t colon = part.find(':');
    const auto device = Parse<int>(part.substr(0, colon));
    const auto times = colon == std::string::npos ? std::optional<double>()
                                                  : Parse<double>(part.substr(colon + 1));
    if (!device || !times || *device < 0 || !(*times > 0) || *times > 1e6) {
      return BadValue("straggler", FLAGS_straggler, "DEVICE:TIMES, as in 17:1.3");
    }
    for (const auto& [other, unused] : options.stragglers) {
      if (other == *device) {
        return BadValue("straggler", FLAGS_straggler, "each device once, with one number of times");
      }
    }
    options.stragglers.emplace_back(*device, *times);
  }
  return OkStatus();
}

// "3-4:0.25"
Status ParseLinks(PredictOptions& options) {
  for (const std::string& part : Split(FLAGS_link)) {
    const size_t dash = part.find('-'), colon = part.find(':');
    const Status bad = BadValue("link", FLAGS_link, "A-B:PART with PART up to 1, as in 3-4:0.25");
    if (dash == std::string::npos || colon == std::string::npos || colon < dash) return bad;
    const auto a = Parse<int>(part.substr(0, dash));
    const auto b = Parse<int>(part.substr(dash + 1, colon - dash - 1));
    const auto rest = Parse<double>(part.substr(colon + 1));
    if (!a || !b || !rest || *a < 0 || *b < 0 || *a == *b || !(*rest > 0) || *rest > 1) return bad;
    for (const sim::Machine::SlowPair& other : options.links) {
      if (std::minmax(other.a, other.b) == std::minmax(*a, *b)) {
        return BadValue("link", FLAGS_link, "each pair of devices once");
      }
    }
    options.links.push_back({*a, *b, *rest});
  }
  return OkStatus();
}

// "tp:1..8,dp:1..128"
Status ParseSweep(PredictOptions& options) {
  options.sweep = !FLAGS_sweep.empty();
  std::set<const AxisRange*> named;
  for (const std::string& part : Split(FLAGS_sweep)) {
    AxisRange* range = part.starts_with("tp:")   ? &options.sweep_tp
                       : part.starts_with("dp:") ? &options.sweep_dp
                                                 : nullptr;
    const size_t dots = part.find("..");
    const Status bad = BadValue("sweep", FLAGS_sweep, "ranges as in tp:1..8,dp:1..128");
    if (range == nullptr) return bad;
    if (!named.insert(range).second) {
      return BadValue("sweep", FLAGS_sweep, "one range of each, tp and dp");
    }
    const std::string sizes = part.substr(3);
    const auto first = Parse<int>(sizes.substr(0, sizes.find("..")));
    const auto last =
        dots == std::string::npos ? first : Parse<int>(sizes.substr(sizes.find("..") + 2));
    if (!first || !last || *first < 1 || *last < *first || *last > Mesh::kMaxWorld) return bad;
    *range = {*first, *last};
  }
  return OkStatus();
}

// What not every model, or part of one, has.
Status CheckModel(const PredictOptions& options) {
  if (!FLAGS_part.empty() && !options.part) return BadValue("part", FLAGS_part, "block or mlp");
  if (options.part && options.model.empty()) {
    return InvalidArgument("--part is of a transformer: name one with --model");
  }
  if (options.part &&
      (options.sweep || FLAGS_recompute || options.step.micro_batches > 1 || !FLAGS_masters)) {
    return InvalidArgument(
        "--part is of one layer's step, which goes without --sweep, --recompute, "
        "--micro_batches and --nomasters");
  }
  if (!options.model.empty() && !FLAGS_masters &&
      AccumulatorOf(options.step.dtype) == options.step.dtype) {
    return InvalidArgument(fmt::format(
        "--masters=false: weights in {} have no masters; only those in bf16 and fp16 do",
        Name(options.step.dtype)));
  }
  return OkStatus();
}

Status CheckSizes(const PredictOptions& options) {
  for (const auto& [flag, value] :
       {std::pair("sequence", FLAGS_sequence), std::pair("tokens", FLAGS_tokens),
        std::pair("in_features", FLAGS_in_features), std::pair("out_features", FLAGS_out_features),
        std::pair("micro_batches", int64_t{FLAGS_micro_batches}),
        std::pair("strands", int64_t{FLAGS_strands}), std::pair("top", int64_t{FLAGS_top})}) {
    if (value < 1) return BadValue(flag, std::to_string(value), "at least 1");
  }
  if (FLAGS_strands > FLAGS_micro_batches) {
    return BadValue("strands", std::to_string(FLAGS_strands),
                    fmt::format("at most --micro_batches, {}", FLAGS_micro_batches).c_str());
  }
  if (!options.time_ops.empty() && !options.ops.empty()) {
    return InvalidArgument("--ops: --time_ops times the ops anew; give one of both");
  }
  if (FLAGS_calibrate_seconds < 0) {
    return BadValue("calibrate_seconds", std::to_string(FLAGS_calibrate_seconds), "at least 0");
  }
  if (FLAGS_batch < 0) return BadValue("batch", std::to_string(FLAGS_batch), "at least 1");
  if (options.sweep && options.model.empty()) {
    return InvalidArgument("--sweep compares meshes of a transformer: name one with --model");
  }
  TP_RETURN_IF_ERROR(CheckModel(options));
  const bool one_step = !options.model.empty() || options.engine.modes.size() == 1;
  for (const auto& [flag, path] :
       {std::pair("chakra", options.chakra), std::pair("trace_dir", options.trace_dir)}) {
    if (path.empty() || (!options.sweep && one_step)) continue;
    return InvalidArgument(fmt::format(
        "--{} holds one step: give --model, or --mode=row or column, and no --sweep", flag));
  }
  if (!options.sweep && !options.engine.json.empty()) {
    return InvalidArgument("--json holds the configurations of a --sweep, which was not asked for");
  }
  return OkStatus();
}

// What is asked for, and the flags that it heeds.
struct Job {
  const char* what;
  std::set<std::string_view> flags;
};

Job JobOf(const PredictOptions& options) {
  if (!options.calibrate.empty()) {
    return {
        "a calibration",
        {"calibrate", "calibrate_seconds", "backend", "tp", "dp", "dtype", "algorithm", "scheduler",
         "scheduler_seed", "deadline", "graph", "gemm_search", "peers", "sum_part_bytes"}};
  }
  Job job = {"", {"machine", "fit", "straggler", "link"}};
  if (!options.sweep) job.flags.insert({"time_ops", "ops"});
  if (!options.time_ops.empty()) {
    job.flags.insert({"backend", "calibrate_seconds", "scheduler", "scheduler_seed", "deadline",
                      "graph", "gemm_search"});
  }
  const auto add = [&job](const char* what, std::initializer_list<std::string_view> flags) {
    job.what = what;
    job.flags.insert(flags);
  };
  if (!options.score.empty()) {
    add("a score", {"score", "verbose"});
    return job;
  }
  add("", {"algorithm", "dtype"});
  if (options.sweep) {
    add("a sweep, which tries tp, dp, sequence_parallel and recompute itself,",
        {"sweep", "top", "json", "model", "batch", "sequence", "micro_batches", "overlap",
         "strands", "masters"});
    return job;
  }
  add("", {"tp", "dp", "sum_part_bytes", "trace_dir", "chakra"});
  if (options.model.empty()) {
    add("the linear step (--model names a transformer's)",
        {"mode", "tokens", "in_features", "out_features"});
  } else {
    add("a transformer's step", {"model", "part", "batch", "sequence", "sequence_parallel",
                                 "recompute", "micro_batches", "overlap", "strands", "masters"});
  }
  return job;
}

// Flags that would change nothing.
Status RefuseFlagsOfOtherJobs(const PredictOptions& options) {
  const Job job = JobOf(options);
  std::vector<const char*> all = {"reduction",      "lr",       "seed",  "scheduler",
                                  "scheduler_seed", "deadline", "graph", "gemm_search",
                                  "tensor_cores",   "peers"};
  for (const bench::HelpTopic& topic : Help().topics) {
    all.insert(all.end(), topic.flags.begin(), topic.flags.end());
  }
  for (const char* name : all) {
    if (gflags::GetCommandLineFlagInfoOrDie(name).is_default || job.flags.contains(name)) continue;
    return InvalidArgument(fmt::format("--{}: {} has no such flag; see --help", name, job.what));
  }
  return OkStatus();
}

}  // namespace

std::vector<int> AxisRange::Values() const {
  std::vector<int> values;
  for (int64_t value = first; value <= last; value *= 2) values.push_back(static_cast<int>(value));
  return values;
}

StatusOr<PredictOptions> ParseCommandLine(int argc, char** argv) {
  TP_RETURN_IF_ERROR(bench::ParseFlags(argc, argv, Help()));
  PredictOptions options;
  TP_RETURN_IF_ERROR(bench::ReadEngineFlags(options.engine));
  options.engine.tokens = FLAGS_tokens;
  options.engine.in_features = FLAGS_in_features;
  options.engine.out_features = FLAGS_out_features;
  options.machine = FLAGS_machine;
  options.fit = io::ResolvePath(FLAGS_fit);
  options.model = FLAGS_model;
  options.part = ParseTransformerPart(FLAGS_part);
  options.step.batch = FLAGS_batch;
  options.step.sequence = FLAGS_sequence;
  options.step.sequence_parallel = FLAGS_sequence_parallel;
  options.step.recompute = FLAGS_recompute;
  options.step.micro_batches = FLAGS_micro_batches;
  options.step.overlap = FLAGS_overlap || FLAGS_strands > 1;
  options.step.strands = FLAGS_strands;
  options.step.adamw.masters = FLAGS_masters;
  const bool typed = !gflags::GetCommandLineFlagInfoOrDie("dtype").is_default;
  options.step.dtype = typed ? options.engine.dtype : DType::kBFloat16;
  options.top = FLAGS_top;
  options.trace_dir = io::ResolvePath(FLAGS_trace_dir);
  options.chakra = io::ResolvePath(FLAGS_chakra);
  options.calibrate = io::ResolvePath(FLAGS_calibrate);
  options.calibrate_seconds = FLAGS_calibrate_seconds;
  options.time_ops = io::ResolvePath(FLAGS_time_ops);
  options.ops = io::ResolvePath(FLAGS_ops);
  options.score = io::ResolvePath(FLAGS_score);
  TP_RETURN_IF_ERROR(ParseStragglers(options));
  TP_RETURN_IF_ERROR(ParseLinks(options));
  TP_RETURN_IF_ERROR(ParseSweep(options));
  TP_RETURN_IF_ERROR(CheckSizes(options));
  TP_RETURN_IF_ERROR(RefuseFlagsOfOtherJobs(options));
  return options;
}

}  // namespace tp::predict_tool
