#include "backends/predict/cost_model.h"

#include <algorithm>

namespace tp::predict {

std::string_view Name(CostSource source) {
  switch (source) {
    case CostSource::kMeasured:
      return "measured";
    case CostSource::kInterpolated:
      return "interpolated";
    case CostSource::kPreset:
      break;
  }
  return "preset";
}

Cost CostModel::Of(const OpWork& work) const {
  const sim::DeviceSpec& device = machine_.device;
  const double compute = work.flops / device.FlopsOf(work.dtype);
  const double memory = work.bytes / (device.memory_bytes_per_second * device.reached_memory);
  return {.seconds = device.launch_us * 1e-6 + std::max(compute, memory)};
}

std::optional<Cost> CostModel::OfCollective(CollectiveKind, int, double) const {
  return std::nullopt;
}

}  // namespace tp::predict
