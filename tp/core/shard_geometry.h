// ShardGeometry: which part of a dimension each of `parts` ranks owns.
//
// The parts are contiguous, in rank order, and as even as they can be: the first `size % parts` of
// them hold one element more. Sizes that do not divide are the normal case, and where there are
// more ranks than elements the last ranks own nothing (length 0). Every element has one owner.
#pragma once

#include <glog/logging.h>

#include <algorithm>
#include <cstdint>

namespace tp {

class ShardGeometry {
 public:
  ShardGeometry(int64_t size, int parts) : size_(size), parts_(parts) {
    CHECK_GE(size, 0);
    CHECK_GE(parts, 1);
  }

  int64_t size() const { return size_; }
  int parts() const { return parts_; }

  // First element that `part` owns, and how many it owns. Offset(parts()) is size().
  int64_t Offset(int part) const {
    return (size_ / parts_) * part + std::min<int64_t>(part, size_ % parts_);
  }
  int64_t Length(int part) const { return Offset(part + 1) - Offset(part); }

  // The part that owns `element`, in [0, size()).
  int OwnerOf(int64_t element) const {
    const int64_t longer = size_ % parts_;
    const int64_t length = size_ / parts_;
    const int64_t in_longer = longer * (length + 1);
    if (element < in_longer) return static_cast<int>(element / (length + 1));
    return static_cast<int>(longer + (element - in_longer) / length);
  }

 private:
  int64_t size_;
  int parts_;
};

}  // namespace tp
