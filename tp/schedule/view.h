// View: where a tensor lies in a buffer, a size and a stride for each dimension; and Order: which
// dimension runs slowest.
//
// Sizes, strides and offsets count elements. Strides are never negative; one of 0 means that all
// indices of the dimension are the same memory. Both are plain values of fixed size.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>

#include "tp/core/shape.h"

namespace tp {

using BufferId = int;

// One dimension of a view.
struct Dim {
  int64_t size = 1;
  int64_t stride = 1;

  bool operator==(const Dim&) const = default;
};

// A view of a value has at most kMostDims dimensions; one of what a matrix product reads may have
// two more, since letters that do not group are loops there (contraction.h).
inline constexpr int kMostViewDims = kMostDims + 2;

// The index of an element, a number for each dimension.
using Index = std::array<int64_t, kMostViewDims>;

// The dimensions of a view, outermost first as the tensor counts them.
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<Dim> dims) {
    for (const Dim& dim : dims) push_back(dim);
  }

  int size() const { return count_; }
  void push_back(const Dim& dim) { dims_.at(count_++) = dim; }
  Dim& operator[](int i) { return dims_[i]; }
  const Dim& operator[](int i) const { return dims_[i]; }
  Dim* begin() { return dims_.data(); }
  Dim* end() { return dims_.data() + count_; }
  const Dim* begin() const { return dims_.data(); }
  const Dim* end() const { return dims_.data() + count_; }

  bool operator==(const Dims& other) const {
    return std::equal(begin(), end(), other.begin(), other.end());
  }

 private:
  std::array<Dim, kMostViewDims> dims_ = {};
  int count_ = 0;
};

// The dimensions of a tensor, the one that runs slowest in memory first.
class Order {
 public:
  // A tensor's own order: its first dimension outermost.
  static Order Own(size_t rank);
  // What is gathered or scattered along `dim` is stored with `dim` outermost, all else in its own
  // order, so that every block is contiguous and a collective packs nothing.
  static Order Outermost(int dim, size_t rank);

  int rank() const { return rank_; }
  int operator[](int i) const { return dims_[i]; }
  bool operator==(const Order&) const = default;

 private:
  friend std::optional<Order> PackedOrder(const struct View& view);

  std::array<int8_t, kMostDims> dims_ = {};
  int rank_ = 0;
};

// The element at index i is at offset + the sum over d of i[d] * dims[d].stride.
struct View {
  BufferId buffer = -1;
  int64_t offset = 0;
  Dims dims;

  int rank() const { return dims.size(); }
  int64_t size() const {
    int64_t count = 1;
    for (const Dim& dim : dims) count *= dim.size;
    return count;
  }
  bool empty() const { return size() == 0; }
  // Indices [begin, begin + length) of dimension `dim`. An empty part begins where this view does,
  // and so lies in the buffer wherever its edge would be.
  View Sub(int dim, int64_t begin, int64_t length) const {
    View part = *this;
    part.dims[dim].size = length;
    if (!part.empty()) part.offset += begin * dims[dim].stride;
    return part;
  }
  // One past the last element that it touches, from the buffer's start; offset where it is empty.
  int64_t End() const {
    if (empty()) return offset;
    int64_t last = offset;
    for (const Dim& dim : dims) last += (dim.size - 1) * dim.stride;
    return last + 1;
  }

  // Of a view of two dimensions at most, as a matrix: a vector is one row, a scalar 1 x 1.
  int64_t rows() const { return rank() < 2 ? 1 : dims[0].size; }
  int64_t columns() const { return rank() == 0 ? 1 : dims[rank() - 1].size; }
  int64_t row_stride() const { return rank() < 2 ? columns() * column_stride() : dims[0].stride; }
  int64_t column_stride() const { return rank() == 0 ? 1 : dims[rank() - 1].stride; }

  bool operator==(const View&) const = default;
};

View MatrixView(BufferId buffer, int64_t offset, int64_t rows, int64_t columns, int64_t row_stride,
                int64_t column_stride);

// A tensor of these sizes that fills memory from `offset` on, in `order`.
View PackedView(BufferId buffer, int64_t offset, const Shape& sizes, const Order& order);
Shape SizesOf(const View& view);

// Whether it fills the memory from its first to its last element, in this order.
bool IsPacked(const View& view, const Order& order);
// An order in which it does, if there is one.
std::optional<Order> PackedOrder(const View& view);

// Whether two views share an element. Exact, unless their strides are so unlike that finding out
// takes more than some thousand steps; then it says that they do. It never misses an element that
// is shared.
bool Overlap(const View& a, const View& b);

// Views of the same elements, which all have the same sizes: dimensions of one element are left
// out, and two that are neighbours in the first view's memory become one wherever they can in all.
void MergeDims(std::span<Dims* const> views);

// Calls body(index, place) for each element of `view`, row-major; `place` is its place in the
// buffer.
template <typename Body>
void ForEachElement(const View& view, const Body& body) {
  if (view.empty()) return;
  Index index = {};
  int64_t place = view.offset;
  while (true) {
    body(index, place);
    int d = view.rank();
    while (d-- > 0) {
      place += view.dims[d].stride;
      if (++index[d] < view.dims[d].size) break;
      place -= view.dims[d].size * view.dims[d].stride;
      index[d] = 0;
    }
    if (d < 0) return;
  }
}

// "[0+20x500 by 1,20]": offset, sizes and strides. A vector prints as one row.
std::string ToString(const View& view);

}  // namespace tp
