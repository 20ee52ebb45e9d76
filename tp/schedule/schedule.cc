#include "tp/schedule/schedule.h"

#include <glog/logging.h>

namespace tp {

std::string Name(Stream stream) {
  if (stream == Stream::kCompute) return "compute";
  const int number = static_cast<int>(stream);
  return "communication" + (number == 1 ? "" : " " + std::to_string(number));
}

const LetterPart& ScheduledOp::PartOf(char letter) const {
  for (const LetterPart& part : letters) {
    if (part.letter == letter) return part;
  }
  LOG(FATAL) << "'" << name << "' has no letter '" << letter << "'";
}

const Binding& Schedule::BindingOf(std::string_view name) const {
  for (const Binding& binding : bindings) {
    if (binding.name == name) return binding;
  }
  LOG(FATAL) << "the schedule has no binding '" << name << "'";
}

namespace {

std::string Describe(const Schedule& schedule, const std::vector<View>& views) {
  std::string text;
  for (const View& view : views) {
    text += (text.empty() ? "" : ", ") + schedule.buffers[view.buffer].name + ToString(view);
  }
  return text;
}

}  // namespace

std::string ToString(const Schedule& schedule) {
  std::string text = "rank " + std::to_string(schedule.rank) + "\n";
  for (size_t i = 0; i < schedule.ops.size(); ++i) {
    const ScheduledOp& op = schedule.ops[i];
    text += std::to_string(i) + " " + Name(op.stream) + ": " + op.name + " = " +
            (op.action == Action::kCollective ? ToString(op.call) : std::string(Name(op.action))) +
            "(" + Describe(schedule, op.reads) + ") -> " + Describe(schedule, op.writes);
    for (int wait : op.waits) text += " after " + std::to_string(wait);
    text += "  # " + std::string(Name(op.phase)) + "\n";
  }
  for (const Buffer& buffer : schedule.buffers) {
    text += "buffer " + buffer.name + ": " + std::to_string(buffer.bytes()) + " bytes\n";
  }
  return text;
}

}  // namespace tp
