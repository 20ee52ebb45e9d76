#include "tp/runtime/region.h"

#include <algorithm>
#include <string>
#include <utility>

namespace tp {
namespace {

// With strides in bytes.
std::vector<Dim> DimsOf(const View& view, int64_t element_bytes) {
  std::vector<Dim> dims;
  for (const auto& [size, stride] : view.dims) dims.push_back({size, stride * element_bytes});
  return dims;
}

bool MayOverlap(const Region& a, const Region& b) {
  if (a.buffer != b.buffer || a.End() <= b.offset || b.End() <= a.offset) return false;
  // Runs at the same distances, as shards of one matrix have them, may lie between each other.
  if (a.stride == 0 || a.stride != b.stride) return true;
  const auto [first, second] = std::minmax({a.offset, b.offset});
  const int64_t shift = (second - first) % a.stride;
  const int64_t first_bytes = a.offset <= b.offset ? a.bytes : b.bytes;
  const int64_t second_bytes = a.offset <= b.offset ? b.bytes : a.bytes;
  return shift < first_bytes || shift + second_bytes > a.stride;
}

std::string ToString(const Region& region) {
  std::string text = std::to_string(region.count) + " x " + std::to_string(region.bytes) +
                     " bytes at " + std::to_string(region.offset);
  if (region.count > 1) text += ", " + std::to_string(region.stride) + " apart,";
  return text;
}

}  // namespace

std::vector<Region> RegionsOf(const View& view, int64_t element_bytes) {
  if (view.empty()) return {};
  std::vector<Dim> dims = DimsOf(view, element_bytes);
  std::erase_if(dims, [](const Dim& dim) { return dim.size == 1; });
  std::sort(dims.begin(), dims.end(),
            [](const Dim& a, const Dim& b) { return a.stride < b.stride; });
  Region region{view.buffer, view.offset * element_bytes, element_bytes, 1, 0};
  size_t next = 0;
  for (; next < dims.size() && dims[next].stride == region.bytes; ++next) {
    region.bytes *= dims[next].size;
  }
  if (next < dims.size()) {
    region.count = dims[next].size;
    region.stride = dims[next].stride;
    ++next;
  }
  std::vector<Region> regions = {region};
  for (; next < dims.size(); ++next) {
    std::vector<Region> more;
    for (int64_t i = 0; i < dims[next].size; ++i) {
      for (Region one : regions) {
        one.offset += i * dims[next].stride;
        more.push_back(one);
      }
    }
    regions = std::move(more);
  }
  return regions;
}

Status CheckRegion(const Region& region, const Schedule& schedule, const std::vector<Region>& fed) {
  const auto buffers = static_cast<BufferId>(schedule.buffers.size());
  if (region.buffer < 0 || region.buffer >= buffers) {
    return InvalidArgument("there is no buffer " + std::to_string(region.buffer) + " of " +
                           std::to_string(buffers));
  }
  const Buffer& buffer = schedule.buffers[region.buffer];
  const bool sound = region.offset >= 0 && region.bytes > 0 && region.count > 0 &&
                     (region.count == 1 || region.stride >= region.bytes);
  if (!sound || region.End() > buffer.bytes()) {
    return InvalidArgument("buffer '" + buffer.name + "' of " + std::to_string(buffer.bytes()) +
                           " bytes has no region of " + ToString(region));
  }
  for (const Region& other : fed) {
    if (region == other || !MayOverlap(region, other)) continue;
    return InvalidArgument("in buffer '" + buffer.name + "' the region of " + ToString(region) +
                           " overlaps the one of " + ToString(other) + " that is fed already");
  }
  return OkStatus();
}

}  // namespace tp
