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
  return fmt::format("step {:{}}/{}  loss {:.4f}  norm {:.3f}  lr {:.2e}  {} tokens/s  {}\n",
                     metrics.step, digits, options.steps, metrics.loss, metrics.norm, metrics.rate,
                     io::FormatCount(tokens / metrics.seconds),
                     io::FormatDuration(metrics.seconds * 1e9));
}

std::string RenderHeldOut(int64_t step, double loss) {
  return fmt::format("held-out loss {:.4f} nats a token after step {}\n", loss, step);
}

std::string RenderNext(const TrainOptions& options, const std::string& checkpoint) {
  ModelOptions model = options.model;
  model.hf = checkpoint;
  return "next: verify " + FlagsOfStep(model, options.engine) + "\n";
}

std::string RenderPlan(const TrainOptions& options, const TransformerConfig& config,
                       const std::vector<Schedule>& schedules, double seconds) {
  std::vector<int64_t> bytes;
  for (const Schedule& schedule : schedules) bytes.push_back(ArenaOf(schedule).bytes);
  const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
  return RenderModel(options.model, options.engine, config) +
         fmt::format(
             "memory: {} a rank{}; {} if no buffer shared its memory\n", io::FormatBytes(*most),
             *least < *most ? fmt::format(" at most, {} at least", io::FormatBytes(*least)) : "",
             io::FormatBytes(BytesWithoutReuse(schedules[0]))) +
         fmt::format("planned in {}\n", io::FormatDuration(seconds * 1e9));
}

}  // namespace tp::train
