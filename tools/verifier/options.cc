#include "tools/verifier/options.h"

#include <gflags/gflags.h>

#include <algorithm>
#include <sstream>

#include "tools/benchmark/engine_flags.h"
#include "tools/io/paths.h"

DEFINE_string(load, "",
              "folder with x.npy [tokens, in], w.npy [out, in], targets.npy [tokens, out], b.npy "
              "[out]");
DEFINE_string(x, "", "where x is: FILE.npy, or FILE.safetensors:NAME");
DEFINE_string(w, "", "likewise w");
DEFINE_string(b, "", "likewise b; without, the layer has no bias");
DEFINE_string(targets, "", "likewise the targets of the loss; without, they are generated");
DEFINE_string(lanes, "bounded,exact",
              "how our engine is verified on these tensors: bounded, exact, both, or none");
DEFINE_string(expect, "",
              "folder with results of your own: y.npy, dx.npy, dw.npy, db.npy of the first step, "
              "w.npy and b.npy after the last, losses.npy; any of them");
DEFINE_int32(steps, 1, "training steps");

namespace tp::verifier {
namespace {

bench::HelpText Help() {
  return {
      "Verifies a training step of a linear layer on tensors of your own, against an independent\n"
      "reference in fp64 and within bounds that follow from the data, the element type and the\n"
      "way the sums are split: our engine's step, and with --expect the results of yours.\n\n"
      "  verify --load=DIR [--flag=value ...]\n"
      "  verify --x=FILE:NAME --w=FILE:NAME [--flag=value ...]\n"
      "  verify --load=DIR --expect=DIR --mode=row --tp=2 --lanes=none\n",
      {{"Tensors", {"load", "x", "w", "b", "targets", "expect"}},
       {"The arithmetic", {"mode", "tp", "dp", "dtype", "steps", "lr"}},
       {"What is verified", {"lanes", "json"}},
       {"How our engine runs",
        {"backend", "deadline", "seed", "algorithm", "scheduler", "scheduler_seed", "graph",
         "gemm_search"}}}};
}

StatusOr<std::vector<verify::Lane>> ParseLanes() {
  std::vector<verify::Lane> lanes;
  if (FLAGS_lanes == "none") return lanes;
  std::istringstream words(FLAGS_lanes);
  for (std::string word; std::getline(words, word, ',');) {
    if (word != "bounded" && word != "exact") {
      return bench::BadValue("lanes", FLAGS_lanes,
                             "bounded, exact, both with a comma between, or none");
    }
    const verify::Lane lane = word == "exact" ? verify::Lane::kExact : verify::Lane::kBounded;
    if (std::find(lanes.begin(), lanes.end(), lane) == lanes.end()) lanes.push_back(lane);
  }
  if (lanes.empty()) return bench::BadValue("lanes", FLAGS_lanes, "a lane, or none");
  return lanes;
}

}  // namespace

StatusOr<VerifierOptions> ParseCommandLine(int argc, char** argv) {
  TP_RETURN_IF_ERROR(bench::ParseFlags(argc, argv, Help()));
  VerifierOptions options;
  TP_RETURN_IF_ERROR(bench::ReadEngineFlags(options.engine));
  if (FLAGS_steps < 1) {
    return bench::BadValue("steps", std::to_string(FLAGS_steps), "at least 1");
  }
  options.engine.steps = FLAGS_steps;
  options.engine.warmup = 0;
  options.engine.floor = false;
  TP_ASSIGN_OR_RETURN(options.lanes, ParseLanes());
  options.load = io::ResolvePath(FLAGS_load);
  options.expect = io::ResolvePath(FLAGS_expect);
  for (const auto& [name, path] : {std::pair("x", FLAGS_x), std::pair("w", FLAGS_w),
                                   std::pair("b", FLAGS_b), std::pair("targets", FLAGS_targets)}) {
    if (!path.empty()) options.tensors[name] = io::ResolvePath(path);
  }
  if (options.lanes.empty() && options.expect.empty()) {
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
