#include "tp/verify/owners.h"

#include "tp/core/shard_geometry.h"

namespace tp::verify {

std::optional<int> ShardedDimension(Quantity quantity, Mode mode, Axis axis) {
  const bool row = mode == Mode::kRow;
  const auto over_tp = [&](int in_row_mode, int in_column_mode) -> std::optional<int> {
    const int dimension = row ? in_row_mode : in_column_mode;
    return dimension < 0 ? std::nullopt : std::optional<int>(dimension);
  };
  if (axis == Axis::kDp) {
    const bool by_token = quantity == Quantity::kY || quantity == Quantity::kDx;
    return by_token ? std::optional<int>(0) : std::nullopt;
  }
  switch (quantity) {
    case Quantity::kY:
      return over_tp(1, -1);
    case Quantity::kDx:
      return over_tp(-1, 1);
    case Quantity::kDw:
    case Quantity::kW:
      return over_tp(0, 1);
    case Quantity::kDb:
    case Quantity::kB:
      return over_tp(0, -1);
    case Quantity::kLoss:
      break;
  }
  return std::nullopt;
}

int64_t PositionAlong(const Shape& shape, int dimension, int64_t index) {
  if (shape.size() == 1) return index;
  return dimension == 0 ? index / shape[1] : index % shape[1];
}

std::optional<int> OwnerCoordinate(Quantity quantity, const NumericModel& model, Axis axis,
                                   const Shape& shape, int64_t index) {
  const std::optional<int> dimension = ShardedDimension(quantity, model.mode, axis);
  if (!dimension) return std::nullopt;
  const ShardGeometry geometry(shape[*dimension], axis == Axis::kTp ? model.tp : model.dp);
  return geometry.OwnerOf(PositionAlong(shape, *dimension, index));
}

std::vector<int> OwnersOf(Quantity quantity, const NumericModel& model, const Shape& shape,
                          int64_t index) {
  const StatusOr<Mesh> mesh = Mesh::Create(model.tp, model.dp);
  std::vector<int> owners;
  if (!mesh.ok()) return owners;
  const std::optional<int> tp = OwnerCoordinate(quantity, model, Axis::kTp, shape, index);
  const std::optional<int> dp = OwnerCoordinate(quantity, model, Axis::kDp, shape, index);
  for (int rank = 0; rank < mesh->world(); ++rank) {
    if (tp && mesh->Coordinate(rank, Axis::kTp) != *tp) continue;
    if (dp && mesh->Coordinate(rank, Axis::kDp) != *dp) continue;
    owners.push_back(rank);
  }
  return owners;
}

}  // namespace tp::verify
