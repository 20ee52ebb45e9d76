#include "tools/train/print.h"

#include <algorithm>

#include "fmt/format.h"
#include "tools/io/table.h"
#include "tools/train/model_step.h"
#include "tp/schedule/memory.h"

namespace tp::train {
namespace {

std::string Files(const std::vector<std::string>& files) {
  if (files.size() == 1) return files[0];
  return fmt::format("{} files from {} on", files.size(), files[0]);
}

}  // namespace

std::string RenderHead(const TrainOptions& options, const TransformerConfig& config,
                       const Text& text) {
  return RenderModel(options.model, options.engine, config) +
         fmt::format("text: {} tokens of {}; {} more are held out\n\n",
                     fmt::group_digits(text.learned()), Files(options.model.text),
                     fmt::group_digits(text.size() - text.learned()));
}

std::string RenderStep(const TrainOptions& options, const StepMetrics& metrics) {
  const auto tokens = static_cast<double>(options.model.batch * options.model.sequence);
  const auto digits = static_cast<int>(std::to_string(options.steps).size());
  std::string line = fmt::format(
      "step {:{}}/{}  loss {:.4f}  norm {:.3f}  lr {:.2e}  {} tokens/s  {}\n", metrics.step, digits,
      options.steps, metrics.loss, metrics.norm, metrics.rate,
      io::FormatCount(tokens / metrics.seconds), io::FormatDuration(metrics.seconds * 1e9));
  if (metrics.skipped) {
    line += fmt::format("  skipped: gradients left fp16's range; the loss is scaled by {:g} now\n",
                        metrics.loss_scale);
  }
  return line;
}

std::string RenderHeldOut(int64_t step, double loss) {
  return fmt::format("held-out loss {:.4f} nats a token after step {}\n", loss, step);
}

std::string RenderNext(const TrainOptions& options, const std::string& checkpoint) {
  std::string text;
  if (!checkpoint.empty()) {
    ModelOptions model = options.model;
    model.hf = checkpoint;
    text += "next: verify " + FlagsOfStep(model, options.engine) + "\n";
  }
  if (!options.logdir.empty()) text += "next: tensorboard --logdir " + options.logdir + "\n";
  return text;
}

std::string RenderPlan(const TrainOptions& options, const TransformerConfig& config,
                       const std::vector<std::vector<Schedule>>& schedules, double seconds) {
  std::vector<int64_t> bytes(schedules[0].size()), of_step;
  for (const std::vector<Schedule>& of_program : schedules) {
    for (size_t rank = 0; rank < bytes.size(); ++rank) {
      bytes[rank] += ArenaOf(of_program[rank]).bytes;
    }
    if (of_step.empty()) of_step = bytes;
  }
  const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
  const size_t fullest = static_cast<size_t>(most - bytes.begin());
  return RenderModel(options.model, options.engine, config) +
         fmt::format(
             "memory: {} a rank{}\n", io::FormatBytes(*most),
             *least < *most ? fmt::format(" at most, {} at least", io::FormatBytes(*least)) : "") +
         fmt::format(
             "        {} for the step, {} for held-out text{}\n"
             "        the step's would be {} if no buffer shared its memory\n",
             io::FormatBytes(of_step[fullest]), io::FormatBytes(*most - of_step[fullest]),
             options.sample > 0 ? " and the sample" : "",
             io::FormatBytes(BytesWithoutReuse(schedules[0][fullest]))) +
         fmt::format("planned in {}\n", io::FormatDuration(seconds * 1e9));
}

}  // namespace tp::train
