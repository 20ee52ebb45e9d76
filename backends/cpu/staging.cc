#include "backends/cpu/staging.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace tp::cpu {

Status Staging::Put(const Region& region, const Schedule& schedule,
                    std::span<const std::byte> bytes) {
  TP_RETURN_IF_ERROR(CheckRegion(region, schedule, regions_));
  if (static_cast<int64_t>(bytes.size()) != region.size()) {
    return InvalidArgument("a region of " + std::to_string(region.size()) + " bytes in buffer '" +
                           schedule.buffers[region.buffer].name + "' was fed " +
                           std::to_string(bytes.size()));
  }
  const auto place = std::find(regions_.begin(), regions_.end(), region) - regions_.begin();
  if (place == static_cast<int64_t>(regions_.size())) {
    staged_.emplace_back().bytes.resize(bytes.size());
    regions_.push_back(region);
  }
  Staged& staged = staged_[place];
  std::copy(bytes.begin(), bytes.end(), staged.bytes.begin());
  staged.fresh = true;
  return OkStatus();
}

void Staging::Take(const std::function<std::byte*(BufferId)>& buffer_of) {
  for (size_t i = 0; i < staged_.size(); ++i) {
    if (!staged_[i].fresh) continue;
    staged_[i].fresh = false;
    const Region& region = regions_[i];
    std::byte* to = buffer_of(region.buffer) + region.offset;
    for (int64_t run = 0; run < region.count; ++run) {
      std::memcpy(to + run * region.stride, staged_[i].bytes.data() + run * region.bytes,
                  region.bytes);
    }
  }
}

}  // namespace tp::cpu
