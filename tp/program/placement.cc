#include "tp/program/placement.h"

#include <glog/logging.h>

namespace tp {

std::string ToString(Placement placement) {
  switch (placement.kind) {
    case PlacementKind::kReplicate:
      return "Replicate";
    case PlacementKind::kShard:
      return "Shard(" + std::to_string(placement.dim) + ")";
    case PlacementKind::kPartial:
      if (placement.reduction == Reduction::kSum) return "Partial";
      return "Partial(" + std::string(Name(placement.reduction)) + ")";
  }
  LOG(FATAL) << "no such placement: " << static_cast<int>(placement.kind);
}

std::string ToString(const Placements& placements) {
  std::string text = "{";
  for (Axis axis : kAllAxes) {
    if (axis != kAllAxes[0]) text += ", ";
    text += std::string(Name(axis)) + ": " + ToString(placements[axis]);
  }
  return text + "}";
}

}  // namespace tp
