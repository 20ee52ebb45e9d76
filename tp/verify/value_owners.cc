#include "tp/verify/value_owners.h"

#include "tp/schedule/local_part.h"

namespace tp::verify {

std::vector<int64_t> PositionOf(const Shape& shape, int64_t index) {
  std::vector<int64_t> position(shape.size());
  for (size_t dim = shape.size(); dim-- > 0;) {
    position[dim] = index % shape[dim];
    index /= shape[dim];
  }
  return position;
}

int64_t IndexOf(const Shape& shape, const std::vector<int64_t>& position) {
  int64_t index = 0;
  for (size_t dim = 0; dim < shape.size(); ++dim) index = index * shape[dim] + position[dim];
  return index;
}

std::vector<int> OwnersOf(const Value& value, const Mesh& mesh, int64_t index) {
  const std::vector<int64_t> position = PositionOf(value.shape, index);
  std::vector<int> owners;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    bool holds = true;
    for (size_t dim = 0; dim < position.size(); ++dim) {
      const Extent extent = ExtentOf(value, static_cast<int>(dim), mesh, rank);
      const int64_t local = position[dim] - extent.begin;
      holds = holds && local >= 0 && local < extent.length;
    }
    if (holds) owners.push_back(rank);
  }
  return owners;
}

}  // namespace tp::verify
