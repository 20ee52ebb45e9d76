#include "tests/backends/cpu/linear_schedules.h"

#include <utility>

#include "tp/core/mesh.h"
#include "tp/core/random.h"
#include "tp/model/linear_step.h"
#include "tp/runtime/assemble.h"
#include "tp/schedule/lower.h"

namespace tp {

std::vector<Schedule> MakeSchedules(const LinearSpec& spec) {
  LinearStepOptions options;
  options.mode = spec.mode;
  options.dtype = spec.dtype;
  options.tokens = spec.tokens;
  options.in_features = spec.in_features;
  options.out_features = spec.out_features;
  options.learning_rate = 0.5;
  const Mesh mesh = *Mesh::Create(spec.tp, spec.dp);
  const Program program = *MakeLinearStep(options, mesh);
  std::vector<Schedule> schedules;
  for (int rank = 0; rank < mesh.world(); ++rank) schedules.push_back(*Lower(program, mesh, rank));
  return schedules;
}

Status Feed(Executor& executor, const Schedule& schedule) {
  uint64_t stream = 0;
  for (std::string_view name : {"x", "targets", "w", "b"}) {
    const Binding& binding = schedule.BindingOf(name);
    const RandomTensor random(/*seed=*/1, stream++);
    std::vector<std::byte> image(schedule.buffers[binding.view.buffer].bytes());
    FillLocal(
        binding, [&](int64_t index) { return random.Uniform(static_cast<uint64_t>(index)); },
        image);
    TP_RETURN_IF_ERROR(executor.Write(binding.view.buffer, image));
  }
  return OkStatus();
}

StatusOr<std::vector<std::byte>> ReadPart(Executor& executor, const Schedule& schedule,
                                          std::string_view name) {
  const Binding& binding = schedule.BindingOf(name);
  std::vector<std::byte> image(schedule.buffers[binding.view.buffer].bytes());
  TP_RETURN_IF_ERROR(executor.Read(binding.view.buffer, image));
  return ExtractLocal(binding, image);
}

}  // namespace tp
