// CostModel: how long one launch takes on a device that is not here.
//
// Three sources, and each cost says which is its own: a launch of this very work was measured; it
// is interpolated between such ones; or nothing was measured, and it is a preset's peak rates. The
// last has no interval, because nobody knows how wrong it is.
#pragma once

#include <optional>
#include <string_view>

#include "backends/predict/op_work.h"
#include "sim/topology/machine.h"
#include "tp/core/collective.h"

namespace tp::predict {

class Fit;

enum class CostSource { kMeasured, kInterpolated, kPreset };
std::string_view Name(CostSource source);  // "measured", "interpolated", "preset"

struct Cost {
  double seconds = 0;
  CostSource source = CostSource::kPreset;
  // Nine times in ten it takes between seconds / spread and seconds * spread; 0: nobody knows.
  double spread = 0;
};

class CostModel {
 public:
  // `fit` may be null, and else outlives it, as the machine does.
  explicit CostModel(const sim::Machine& machine, const Fit* fit = nullptr)
      : machine_(machine), fit_(fit) {}

  // On a device that is not slower than others.
  Cost Of(const OpWork& work) const;
  // Of a collective of a group in one node, of an array of so many bytes; none where none of its
  // kind and number of members was measured.
  std::optional<Cost> OfCollective(CollectiveKind kind, int members, double bytes) const;

  // How far off whole steps are whose ops were timed (Measurements::step_spread); 0: nobody knows.
  double StepSpread() const;

  const sim::Machine& machine() const { return machine_; }

 private:
  const sim::Machine& machine_;
  const Fit* fit_;
};

}  // namespace tp::predict
