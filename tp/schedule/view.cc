#include "tp/schedule/view.h"

#include <glog/logging.h>

#include <numeric>
#include <vector>

namespace tp {
namespace {

// A term of a sum: x * step, where x is any of 0, 1, ..., most.
struct Term {
  int64_t step, most;
};

// Which numbers such a sum can be. That is a knapsack, so the search is cut short; for views of one
// tensor each term is larger than all that follow it can make up for but once or twice, and the
// search is a few steps.
class BoundedSum {
 public:
  explicit BoundedSum(std::vector<Term> terms) : terms_(std::move(terms)) {
    std::sort(terms_.begin(), terms_.end(),
              [](const Term& a, const Term& b) { return a.step > b.step; });
    rest_.resize(terms_.size() + 1);
    for (size_t i = terms_.size(); i-- > 0;) {
      const Rest& behind = rest_[i + 1];
      const auto [step, most] = terms_[i];
      Rest& rest = rest_[i];
      rest.largest = behind.largest + most * step;
      rest.divisor = std::gcd(behind.divisor, step);
      // A step of such sums leaves no gap where it is no longer than they reach.
      rest.has_all = behind.has_all &&
                     (behind.divisor == 0 ||
                      (step % behind.divisor == 0 && step <= behind.largest + behind.divisor));
    }
  }

  // Whether it can be `sum`; true where that takes too long to find out.
  bool CanBe(int64_t sum) { return CanBe(sum, 0); }

 private:
  // Of the terms from one on.
  struct Rest {
    int64_t largest = 0;  // that they can sum up to
    int64_t divisor = 0;  // of all that they can
    bool has_all = true;  // that it divides, up to the largest
  };

  bool CanBe(int64_t sum, size_t first) {
    const Rest& rest = rest_[first];
    if (sum < 0 || sum > rest.largest) return false;
    if (sum == 0) return true;
    if (sum % rest.divisor != 0) return false;
    if (rest.has_all || --steps_ < 0) return true;
    const auto [step, most] = terms_[first];
    const int64_t missing = sum - rest_[first + 1].largest;
    const int64_t least = missing <= 0 ? 0 : (missing + step - 1) / step;
    for (int64_t x = std::min(most, sum / step); x >= least; --x) {
      if (CanBe(sum - x * step, first + 1)) return true;
    }
    return false;
  }

  std::vector<Term> terms_;
  std::vector<Rest> rest_;
  int steps_ = 4096;
};

}  // namespace

Order Order::Own(size_t rank) { return Outermost(0, rank); }

Order Order::Outermost(int dim, size_t rank) {
  CHECK_LE(rank, static_cast<size_t>(kMostDims));
  Order order;
  if (rank == 0) return order;
  order.dims_[order.rank_++] = static_cast<int8_t>(dim);
  for (int d = 0; d < static_cast<int>(rank); ++d) {
    if (d != dim) order.dims_[order.rank_++] = static_cast<int8_t>(d);
  }
  return order;
}

View MatrixView(BufferId buffer, int64_t offset, int64_t rows, int64_t columns, int64_t row_stride,
                int64_t column_stride) {
  return {buffer, offset, {{rows, row_stride}, {columns, column_stride}}};
}

View PackedView(BufferId buffer, int64_t offset, const Shape& sizes, const Order& order) {
  CHECK_EQ(order.rank(), static_cast<int>(sizes.size()));
  View view{buffer, offset, {}};
  for (int64_t size : sizes) view.dims.push_back({size, 1});
  int64_t stride = 1;
  for (int i = order.rank(); i-- > 0;) {
    Dim& dim = view.dims[order[i]];
    dim.stride = stride;
    stride *= dim.size;
  }
  return view;
}

Shape SizesOf(const View& view) {
  Shape sizes;
  for (const Dim& dim : view.dims) sizes.push_back(dim.size);
  return sizes;
}

bool IsPacked(const View& view, const Order& order) {
  CHECK_EQ(order.rank(), view.rank());
  if (view.empty()) return true;
  int64_t stride = 1;
  for (int i = order.rank(); i-- > 0;) {
    const Dim& dim = view.dims[order[i]];
    if (dim.size != 1 && dim.stride != stride) return false;
    stride *= dim.size;
  }
  return true;
}

std::optional<Order> PackedOrder(const View& view) {
  Order order = Order::Own(static_cast<size_t>(view.rank()));
  if (IsPacked(view, order)) return order;
  // Dimensions of one element may stand anywhere.
  const auto slow = [&](int8_t d) { return view.dims[d].size == 1 ? 0 : view.dims[d].stride; };
  std::stable_sort(order.dims_.begin(), order.dims_.begin() + order.rank_,
                   [&](int8_t a, int8_t b) { return slow(a) > slow(b); });
  if (IsPacked(view, order)) return order;
  return std::nullopt;
}

// An index of a and one of b with the same place: the sum of a's indices times their strides, less
// the same of b, is the distance of their offsets. Counted down from b's end, all terms are added.
bool Overlap(const View& a, const View& b) {
  if (a.buffer != b.buffer || a.empty() || b.empty()) return false;
  if (a.offset >= b.End() || b.offset >= a.End()) return false;
  std::vector<Term> terms;
  for (const View* view : {&a, &b}) {
    for (const Dim& dim : view->dims) {
      if (dim.size == 1 || dim.stride == 0) continue;
      const auto same = std::find_if(terms.begin(), terms.end(),
                                     [&](const Term& t) { return t.step == dim.stride; });
      if (same == terms.end()) {
        terms.push_back({dim.stride, dim.size - 1});
      } else {
        same->most += dim.size - 1;
      }
    }
  }
  return BoundedSum(std::move(terms)).CanBe(b.End() - 1 - a.offset);
}

// Allocates nothing, as std::stable_sort would: kernels call it in every step.
void MergeDims(std::span<Dims* const> views) {
  const Dims& first = *views[0];
  std::array<int, kMostViewDims> by_stride;
  std::iota(by_stride.begin(), by_stride.end(), 0);
  std::sort(by_stride.begin(), by_stride.begin() + first.size(), [&](int a, int b) {
    return first[a].stride != first[b].stride ? first[a].stride > first[b].stride : a < b;
  });
  std::array<int, kMostViewDims> begins;  // of each merged dimension, its innermost one
  std::array<int64_t, kMostViewDims> sizes;
  int merged = 0;
  for (int i = 0; i < first.size(); ++i) {
    const int d = by_stride[i];
    if (first[d].size == 1) continue;
    const bool joins =
        merged > 0 && std::all_of(views.begin(), views.end(), [&](const Dims* dims) {
          return (*dims)[begins[merged - 1]].stride == (*dims)[d].size * (*dims)[d].stride;
        });
    if (joins) {
      begins[merged - 1] = d;
      sizes[merged - 1] *= first[d].size;
    } else {
      begins[merged] = d;
      sizes[merged++] = first[d].size;
    }
  }
  for (Dims* dims : views) {
    Dims out;
    for (int i = 0; i < merged; ++i) out.push_back({sizes[i], (*dims)[begins[i]].stride});
    *dims = out;
  }
}

std::string ToString(const View& view) {
  std::string sizes;
  std::string strides;
  const auto add = [&](int64_t size, int64_t stride) {
    sizes += (sizes.empty() ? "" : "x") + std::to_string(size);
    strides += (strides.empty() ? "" : ",") + std::to_string(stride);
  };
  if (view.rank() < 2) {
    add(view.rows(), view.row_stride());
    add(view.columns(), view.column_stride());
  } else {
    for (const Dim& dim : view.dims) add(dim.size, dim.stride);
  }
  return "[" + std::to_string(view.offset) + "+" + sizes + " by " + strides + "]";
}

}  // namespace tp
