// Region: some bytes of a buffer, which are fed together.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/core/status.h"
#include "tp/schedule/schedule.h"

namespace tp {

// `count` runs of `bytes` each, the first at `offset` of the buffer, and from each run's begin to
// the next one's `stride` bytes. One run has stride 0.
struct Region {
  BufferId buffer = -1;
  int64_t offset = 0;
  int64_t bytes = 0;
  int64_t count = 1;
  int64_t stride = 0;

  int64_t size() const { return bytes * count; }
  // One past the last byte.
  int64_t End() const { return offset + (count - 1) * stride + bytes; }

  bool operator==(const Region&) const = default;
};

// The bytes that `view` shows, in the fewest regions: one wherever its elements lie in a block or
// in equal runs at equal distances. None where it is empty.
std::vector<Region> RegionsOf(const View& view, int64_t element_bytes);

// Whether `region` may be fed to a rank with these buffers beside what is fed already. Errors:
// INVALID_ARGUMENT that names the buffer, where it is no part of one, or may overlap another region
// that is not the same.
Status CheckRegion(const Region& region, const Schedule& schedule, const std::vector<Region>& fed);

}  // namespace tp
