#include "tp/program/placement.h"

#include <glog/logging.h>

#include <set>

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

void FailForTooManyAxes() {
  LOG(FATAL) << "a value has at most " << Mesh::kMostAxes << " axes that are not Replicate";
}

std::vector<Axis> Placements::Cutting(int dim) const {
  std::vector<Axis> axes;
  for (const Entry& entry : entries()) {
    if (IsShard(entry.placement, dim)) axes.push_back(entry.axis);
  }
  return axes;
}

bool Placements::IsInnermost(const Axis& axis) const {
  const Placement placement = (*this)[axis];
  return !IsShard(placement) || Cutting(placement.dim).back() == axis;
}

Placements Dual(const Placements& placements) {
  Placements dual = placements;
  for (const auto& [axis, placement] : placements.entries()) dual.Set(axis, Dual(placement));
  return dual;
}

std::optional<std::vector<Axis>> StepsBetween(const Placements& from, const Placements& to) {
  std::set<Axis> left;
  for (const Placements* either : {&from, &to}) {
    for (const auto& [axis, placement] : either->entries()) {
      if (from[axis] != to[axis]) left.insert(axis);
    }
  }
  // Whether `axis` comes right behind all that cut its dimension so far.
  const auto is_next = [&to](const Placements& now, const Axis& axis) {
    if (!IsShard(to[axis])) return true;
    std::vector<Axis> cutting = now.Cutting(to[axis].dim);
    cutting.push_back(axis);
    const std::vector<Axis> wanted = to.Cutting(to[axis].dim);
    return cutting.size() <= wanted.size() &&
           std::equal(cutting.begin(), cutting.end(), wanted.begin());
  };
  Placements now = from;
  std::vector<Axis> steps;
  while (!left.empty()) {
    const auto axis = std::find_if(left.begin(), left.end(), [&](const Axis& candidate) {
      return now.IsInnermost(candidate) && is_next(now, candidate);
    });
    if (axis == left.end()) return std::nullopt;
    now.Set(*axis, to[*axis]);
    steps.push_back(*axis);
    left.erase(axis);
  }
  if (now != to) return std::nullopt;
  return steps;
}

std::string ToString(const Placements& placements) {
  std::vector<Placements::Entry> told(placements.entries().begin(), placements.entries().end());
  for (auto axis = kDefaultAxes.rbegin(); axis != kDefaultAxes.rend(); ++axis) {
    if (!IsReplicate(placements[*axis])) continue;
    // Behind those that are told before it.
    const auto behind = std::find_if(told.begin(), told.end(),
                                     [&](const auto& entry) { return *axis < entry.axis; });
    told.insert(behind, {*axis, Replicate()});
  }
  std::string text = "{";
  for (const auto& [axis, placement] : told) {
    if (text.size() > 1) text += ", ";
    text += std::string(Name(axis)) + ": " + ToString(placement);
  }
  return text + "}";
}

}  // namespace tp
