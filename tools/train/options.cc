#include "tools/train/options.h"

#include <gflags/gflags.h>

#include <cmath>
#include <iterator>

#include "fmt/format.h"
#include "tools/bench/engine_flags.h"
#include "tools/io/paths.h"

DEFINE_int64(steps, 1000, "steps in all, with those of the run that --resume goes on with");
DEFINE_double(min_lr, -1, "learning rate of the last step; -1: a tenth of --lr");
DEFINE_int64(warmup, 50, "steps until the learning rate is --lr");
DEFINE_int64(eval_every, 250, "steps between losses on held-out text; 0: only one, at the end");
DEFINE_string(save, "checkpoints", "folder of checkpoints; empty: none");
DEFINE_int64(save_every, 0, "steps between checkpoints; 0: only one, at the end");
DEFINE_bool(resume, false, "go on from the last checkpoint in --save");
DEFINE_int64(sample, 300, "tokens to write at the end");
DEFINE_double(temperature, 0.8, "of the written text; 0: always the most likely token");
DEFINE_string(prompt, "The ",
              "what the written text begins with; where --text is ids of tokens, ids with commas "
              "between, and without it some of the text that is held out");
DEFINE_string(log, "", "file that gets a line of JSON for each step");
DEFINE_string(logdir, "", "folder that gets a file of events for TensorBoard");
DEFINE_bool(plan, false, "say what memory a rank needs, and run nothing");

namespace tp::train {
namespace {

using bench::BadValue;

constexpr char kDefaultModel[] = "llama-tiny";

bench::HelpText Help() {
  std::vector<bench::HelpTopic> topics = ModelTopics();
  const bench::HelpTopic more[] = {
      {"Training", {"steps", "lr", "min_lr", "warmup", "dtype", "seed"}},
      {"Where it runs", {"backend", "tp", "dp", "reduction", "deadline", "plan"}},
      {"Checkpoints", {"save", "save_every", "resume"}},
      {"What is told", {"eval_every", "log", "logdir", "sample", "temperature", "prompt"}},
      {"Simulated communication", {"algorithm", "scheduler", "scheduler_seed"}}};
  topics.insert(topics.end(), std::begin(more), std::end(more));
  return {
      "Trains a language model, split over ranks, on text: loss by step, loss on held-out text, a\n"
      "sample of what it writes, and a checkpoint from which any other split goes on.\n\n"
      "  train [--flag=value ...]\n"
      "  train --text=FILE --tp=3 --sequence_parallel --steps=200 --save=DIR\n"
      "  train --resume\n",
      topics};
}

Status RefuseFlagsOfOthers() {
  for (const char* name : {"mode", "json", "verbose", "part"}) {
    if (gflags::GetCommandLineFlagInfoOrDie(name).is_default) continue;
    return InvalidArgument(fmt::format("--{}: train has no such flag; see --help", name));
  }
  return OkStatus();
}

Status AtLeast(const char* name, int64_t value, int64_t least) {
  if (value >= least) return OkStatus();
  return BadValue(name, std::to_string(value), fmt::format("at least {}", least).c_str());
}

Status CheckNumbers() {
  TP_RETURN_IF_ERROR(AtLeast("steps", FLAGS_steps, 1));
  for (const auto& [name, value] :
       {std::pair("warmup", FLAGS_warmup), std::pair("eval_every", FLAGS_eval_every),
        std::pair("save_every", FLAGS_save_every), std::pair("sample", FLAGS_sample)}) {
    TP_RETURN_IF_ERROR(AtLeast(name, value, 0));
  }
  TP_RETURN_IF_ERROR(NotNegative("temperature", FLAGS_temperature));
  if (FLAGS_min_lr == -1) return OkStatus();
  return NotNegative("min_lr", FLAGS_min_lr);
}

Status CheckFiles() {
  if (FLAGS_save.empty() && FLAGS_resume) {
    return InvalidArgument("--resume goes on from a checkpoint in --save, which is empty");
  }
  if (FLAGS_save.empty() && FLAGS_save_every > 0) {
    return InvalidArgument("--save_every says when to write to --save, which is empty");
  }
  if (FLAGS_sample > 0 && FLAGS_prompt.empty()) {
    return InvalidArgument("--prompt is empty: a text begins with at least one byte");
  }
  return OkStatus();
}

}  // namespace

StatusOr<TrainOptions> ParseCommandLine(int argc, char** argv) {
  gflags::SetCommandLineOptionWithMode("lr", kDefaultRate, gflags::SET_FLAGS_DEFAULT);
  gflags::SetCommandLineOptionWithMode("model", kDefaultModel, gflags::SET_FLAGS_DEFAULT);
  TP_RETURN_IF_ERROR(bench::ParseFlags(argc, argv, Help()));
  TrainOptions options;
  TP_RETURN_IF_ERROR(bench::ReadEngineFlags(options.engine));
  TP_RETURN_IF_ERROR(RefuseFlagsOfOthers());
  TP_ASSIGN_OR_RETURN(options.model, ReadModelFlags());
  options.model_given =
      !options.model.hf.empty() || !gflags::GetCommandLineFlagInfoOrDie("model").is_default;
  TP_RETURN_IF_ERROR(CheckNumbers());
  TP_RETURN_IF_ERROR(NotNegative("lr", options.engine.learning_rate));
  TP_RETURN_IF_ERROR(CheckFiles());
  options.steps = FLAGS_steps;
  options.peak_rate = options.engine.learning_rate;
  options.least_rate = FLAGS_min_lr == -1 ? options.peak_rate / 10 : FLAGS_min_lr;
  options.warmup = FLAGS_warmup;
  options.eval_every = FLAGS_eval_every;
  options.save = io::ResolvePath(FLAGS_save);
  options.save_every = FLAGS_save_every;
  options.resume = FLAGS_resume;
  options.sample = FLAGS_sample;
  options.temperature = FLAGS_temperature;
  options.prompt = FLAGS_prompt;
  options.prompt_given = !gflags::GetCommandLineFlagInfoOrDie("prompt").is_default;
  options.log = io::ResolvePath(FLAGS_log);
  options.logdir = io::ResolvePath(FLAGS_logdir);
  options.plan = FLAGS_plan;
  return options;
}

}  // namespace tp::train
