#include "tools/verify/options.h"

#include <gflags/gflags.h>

#include <algorithm>
#include <sstream>

#include "fmt/format.h"
#include "tools/bench/engine_flags.h"
#include "tools/io/paths.h"
#include "tp/core/sum_order.h"

DEFINE_string(load, "",
              "folder with x.npy [tokens, in], w.npy [out, in], targets.npy [tokens, out], b.npy "
              "[out]");
DEFINE_string(x, "", "where x is: FILE.npy, or FILE.safetensors:NAME");
DEFINE_string(w, "", "likewise w");
DEFINE_string(b, "", "likewise b; without, the layer has no bias");
DEFINE_string(targets, "", "likewise the targets of the loss; without, they are generated");
DEFINE_string(
    lanes, "bounded,exact",
    "how our engine is verified on these tensors: any of bounded, exact, ops and invariant "
    "(whose tp is 1, 2, 3, 4, 6 and 8, as far as there are ranks, whatever --tp), with "
    "commas between, or none");
DEFINE_string(expect, "",
              "folder with results of your own: y.npy, dx.npy, dw.npy, db.npy of the first step, "
              "w.npy and b.npy after the last, losses.npy; any of them");
DEFINE_int32(steps, 1, "training steps");

namespace tp::verifier {
namespace {

bench::HelpText Help() {
  std::vector<bench::HelpTopic> topics = {
      {"Tensors", {"load", "x", "w", "b", "targets", "expect"}},
      {"The arithmetic", {"mode", "tp", "dp", "dtype", "steps", "lr", "reduction"}},
      {"What is verified", {"lanes", "json", "verbose"}},
      {"How our engine runs",
       {"backend", "deadline", "seed", "algorithm", "scheduler", "scheduler_seed", "sum_part_bytes",
        "graph", "gemm_search", "tensor_cores", "peers"}}};
  std::vector<bench::HelpTopic> model = train::ModelTopics();
  model.push_back(train::PartTopic());
  topics.insert(topics.begin() + 1, model.begin(), model.end());
  return {
      "Verifies a training step of a linear layer on tensors of your own, against an independent\n"
      "reference in fp64 and within bounds that follow from the data, the element type and the\n"
      "way the sums are split: our engine's step, and with --expect the results of yours.\n"
      "The lanes for our engine:\n"
      "  bounded    on your tensors, every error within its bound\n"
      "  exact      on numbers that leave no room for rounding, no error at all\n"
      "  ops        on your tensors, every value of the last step against what its op makes of\n"
      "             the values that it read\n"
      "  invariant  on your tensors as with --reduction=invariant, for tp 1, 2, 3, 4, 6 and 8 in\n"
      "             each mode: the same bits in Y, loss, dX, dW, db, W and b every time\n"
      "A transformer has ops (its default), exact, on its own weights and tokens, and "
      "invariant.\n\n"
      "  verify --load=DIR [--flag=value ...]\n"
      "  verify --x=FILE:NAME --w=FILE:NAME [--flag=value ...]\n"
      "  verify --load=DIR --lanes=bounded,exact,invariant --steps=5\n"
      "  verify --load=DIR --expect=DIR --mode=row --tp=2 --lanes=none\n"
      "  verify --model=llama-tiny --tp=4       a transformer's step instead, op by op\n"
      "  verify --model=llama-tiny --lanes=ops,invariant\n"
      "  verify --hf=DIR --text=FILE --tp=4     on weights and tokens of your own\n"
      "  verify --hf=DIR --part=block --tp=4    one layer's forward and backward; of DIR it takes\n"
      "                                         the sizes, and draws the weights\n",
      topics};
}

// After the engine's flags: not every lane goes with all of them.
Status ParseLanes(VerifierOptions& options) {
  const bool model = options.model.given();
  if (FLAGS_lanes == "none" && !model) return OkStatus();
  const auto add = [&lanes = options.lanes](verify::Lane lane) {
    if (std::find(lanes.begin(), lanes.end(), lane) == lanes.end()) lanes.push_back(lane);
  };
  std::istringstream words(FLAGS_lanes);
  for (std::string word; std::getline(words, word, ',');) {
    if (word == "bounded" && !model) {
      add(verify::Lane::kBounded);
    } else if (word == "exact") {
      add(verify::Lane::kExact);
    } else if (word == "invariant") {
      options.invariant = true;
    } else if (word == "ops") {
      options.op_by_op = true;
    } else {
      return bench::BadValue(
          "lanes", FLAGS_lanes,
          model ? "ops, exact, invariant, with commas between, of a transformer's step"
                : "bounded, exact, ops, invariant, with commas between, or none");
    }
  }
  if (!options.invariant) {
    if (!options.lanes.empty() || options.op_by_op) return OkStatus();
    return bench::BadValue("lanes", FLAGS_lanes, model ? "a lane" : "a lane, or none");
  }
  if (options.engine.tf32) {
    return bench::BadValue("lanes", FLAGS_lanes, "without invariant with --dtype=tf32");
  }
  if (!SplitsIntoBlocks(options.engine.dp)) {
    return bench::BadValue("dp", std::to_string(options.engine.dp),
                           "a divisor of 24 with --lanes=invariant");
  }
  return OkStatus();
}

// Flags that a transformer's step has no use for.
Status RefuseFlagsOfTheLayer() {
  for (const char* name : {"load", "x", "w", "b", "targets", "expect", "mode", "verbose"}) {
    if (gflags::GetCommandLineFlagInfoOrDie(name).is_default) continue;
    return InvalidArgument(fmt::format(
        "--{} is of the linear layer's step, and --model and --hf verify a transformer's", name));
  }
  return OkStatus();
}

}  // namespace

StatusOr<VerifierOptions> ParseCommandLine(int argc, char** argv) {
  TP_RETURN_IF_ERROR(bench::ParseFlags(argc, argv, Help()));
  VerifierOptions options;
  TP_ASSIGN_OR_RETURN(options.model, train::ReadModelFlags());
  if (options.model.given()) {
    // As the tools that train such a step, or time it.
    gflags::SetCommandLineOptionWithMode("lr", train::kDefaultRate, gflags::SET_FLAGS_DEFAULT);
    gflags::SetCommandLineOptionWithMode("lanes", "ops", gflags::SET_FLAGS_DEFAULT);
  }
  TP_RETURN_IF_ERROR(bench::ReadEngineFlags(options.engine));
  if (FLAGS_steps < 1) {
    return bench::BadValue("steps", std::to_string(FLAGS_steps), "at least 1");
  }
  options.engine.steps = FLAGS_steps;
  options.engine.warmup = 0;
  options.engine.floor = false;
  options.engine.peak = false;
  options.engine.hold_all_steps = true;
  if (options.model.given()) {
    TP_RETURN_IF_ERROR(RefuseFlagsOfTheLayer());
    TP_RETURN_IF_ERROR(ParseLanes(options));
    return options;
  }
  TP_RETURN_IF_ERROR(train::RefuseFlagsOfAModel());
  TP_RETURN_IF_ERROR(ParseLanes(options));
  options.load = io::ResolvePath(FLAGS_load);
  options.expect = io::ResolvePath(FLAGS_expect);
  for (const auto& [name, path] : {std::pair("x", FLAGS_x), std::pair("w", FLAGS_w),
                                   std::pair("b", FLAGS_b), std::pair("targets", FLAGS_targets)}) {
    if (!path.empty()) options.tensors[name] = io::ResolvePath(path);
  }
  const bool no_lane = options.lanes.empty() && !options.invariant && !options.op_by_op;
  if (no_lane && options.expect.empty()) {
    return InvalidArgument("--lanes=none without --expect leaves nothing to verify");
  }
  const bool one_mode = options.engine.modes.size() == 1;
  if (!options.expect.empty() && !one_mode && options.engine.tp != 1) {
    return InvalidArgument(
        "--expect needs --mode=row or --mode=column: how your implementation splits W decides how "
        "far rounding may take it; one that splits nothing is --tp=1");
  }
  return options;
}

}  // namespace tp::verifier
