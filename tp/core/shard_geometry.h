// ShardGeometry: which part of a dimension each of `parts` ranks owns.
//
// Part i begins at ceil(size * i / parts): the parts are contiguous, in rank order, and differ by
// one element at most, the first being one of the longest. Sizes that do not divide are the normal
// case, and where there are more ranks than elements some ranks own nothing (length 0). Every
// element has one owner.
//
// Cuts nest: where q is a multiple of p, each part of p is a union of whole parts of q. So what is
// summed by parts of a fine cut can be summed alike over any number of ranks that divides it.
#pragma once

#include <cstdint>

namespace tp {

class ShardGeometry {
 public:
  ShardGeometry(int64_t size, int parts);

  int64_t size() const { return size_; }
  int parts() const { return parts_; }

  // First element that `part` owns, and how many it owns. Offset(parts()) is size().
  int64_t Offset(int part) const {
    return size_ / parts_ * part + (size_ % parts_ * part + parts_ - 1) / parts_;
  }
  int64_t Length(int part) const { return Offset(part + 1) - Offset(part); }

  // The part that owns `element`, in [0, size()): the last one i with size * i / parts <= element.
  int OwnerOf(int64_t element) const {
    return static_cast<int>(static_cast<__int128>(element) * parts_ / size_);
  }

 private:
  int64_t size_;
  int parts_;
};

}  // namespace tp
