#include "tp/core/mesh.h"

#include <glog/logging.h>

#include <cstdint>

namespace tp {

std::string_view Name(Axis axis) { return axis == Axis::kTp ? "tp" : "dp"; }

StatusOr<Mesh> Mesh::Create(int tp, int dp) {
  if (tp < 1) return InvalidArgument("tp is " + std::to_string(tp) + "; it must be at least 1");
  if (dp < 1) return InvalidArgument("dp is " + std::to_string(dp) + "; it must be at least 1");
  const int64_t world = int64_t{tp} * dp;
  if (world > kMaxWorld) {
    return InvalidArgument("tp x dp is " + std::to_string(world) + " ranks; at most " +
                           std::to_string(kMaxWorld) + " can take part");
  }
  return Mesh(tp, dp);
}

std::vector<int> Mesh::Group(int rank, Axis axis) const {
  CHECK(rank >= 0 && rank < world()) << "rank " << rank << " of " << world();
  const int stride = axis == Axis::kTp ? 1 : tp_;
  const int first = rank - Coordinate(rank, axis) * stride;
  std::vector<int> ranks;
  for (int i = 0; i < Size(axis); ++i) ranks.push_back(first + i * stride);
  return ranks;
}

}  // namespace tp
