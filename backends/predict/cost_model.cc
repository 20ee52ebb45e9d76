#include "backends/predict/cost_model.h"

#include <algorithm>
#include <string>

#include "backends/predict/fit.h"

namespace tp::predict {

namespace {

Cost CostOf(const Estimated& estimated) {
  return {estimated.seconds, estimated.measured ? CostSource::kMeasured : CostSource::kInterpolated,
          estimated.spread};
}

}  // namespace

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
  if (fit_ != nullptr) {
    const auto fitted = work.IsProduct() ? fit_->Product(work.dtype, work.product)
                                         : fit_->Op(ActionOf(work), work.dtype, work.bytes);
    if (fitted) {
      Cost cost = CostOf(*fitted);
      if (work.IsProduct()) cost.seconds *= static_cast<double>(work.loops);
      return cost;
    }
  }
  const sim::DeviceSpec& device = machine_.device;
  const double compute = work.flops / device.FlopsOf(work.dtype);
  const double memory = work.bytes / (device.memory_bytes_per_second * device.reached_memory);
  return {.seconds = device.launch_us * 1e-6 + std::max(compute, memory)};
}

double CostModel::StepSpread() const {
  return fit_ == nullptr ? 0 : fit_->measurements().step_spread;
}

std::optional<Cost> CostModel::OfCollective(CollectiveKind kind, int members, double bytes) const {
  if (fit_ == nullptr) return std::nullopt;
  const std::optional<Estimated> fitted = fit_->Collective(kind, members, bytes);
  if (!fitted) return std::nullopt;
  return CostOf(*fitted);
}

}  // namespace tp::predict
