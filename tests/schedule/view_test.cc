#include "tp/schedule/view.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <numeric>
#include <set>
#include <vector>

namespace tp {
namespace {

std::vector<int64_t> PlacesOf(const View& view) {
  std::vector<int64_t> places;
  ForEachElement(view, [&](const Index&, int64_t place) { places.push_back(place); });
  return places;
}

bool ShareAnElement(const View& a, const View& b) {
  if (a.buffer != b.buffer) return false;
  const std::vector<int64_t> of_a = PlacesOf(a);
  const std::set<int64_t> places(of_a.begin(), of_a.end());
  for (int64_t place : PlacesOf(b)) {
    if (places.contains(place)) return true;
  }
  return false;
}

Shape DrawSizes(int least, int most, int most_size) {
  const int rank = *rc::gen::inRange(least, most + 1);
  Shape sizes;
  for (int d = 0; d < rank; ++d) sizes.push_back(*rc::gen::inRange<int64_t>(1, most_size + 1));
  return sizes;
}

// A box of a tensor, its dimensions in any order, neighbours in memory perhaps as one.
View DrawBox(View view) {
  for (int d = 0; d < view.rank(); ++d) {
    const auto begin = *rc::gen::inRange<int64_t>(0, view.dims[d].size + 1);
    view = view.Sub(d, begin, *rc::gen::inRange<int64_t>(0, view.dims[d].size - begin + 1));
  }
  if (*rc::gen::arbitrary<bool>()) std::reverse(view.dims.begin(), view.dims.end());
  if (!view.empty() && *rc::gen::arbitrary<bool>()) {
    Dims* const only[] = {&view.dims};
    MergeDims(only);
  }
  return view;
}

TEST(View, CutsAndEnds) {
  const View whole = MatrixView(2, 10, 4, 6, 6, 1);
  EXPECT_EQ(whole.size(), 24);
  EXPECT_EQ(whole.End(), 34);
  const View part = whole.Sub(0, 1, 3).Sub(1, 2, 4);
  EXPECT_EQ(part, MatrixView(2, 18, 3, 4, 6, 1));
  EXPECT_EQ(part.End(), 18 + 2 * 6 + 3 + 1);
  const View scalar{0, 5, {}};
  EXPECT_EQ(scalar.size(), 1);
  EXPECT_EQ(scalar.End(), 6);
}

TEST(View, AnEmptyPartStaysInside) {
  const View whole = MatrixView(0, 0, 4, 6, 6, 1);
  for (const View& part : {whole.Sub(0, 4, 0), whole.Sub(1, 6, 0), whole.Sub(1, 6, 0).Sub(0, 4, 0),
                           whole.Sub(0, 2, 0).Sub(1, 3, 0)}) {
    EXPECT_TRUE(part.empty());
    EXPECT_LE(part.offset, whole.End());
    EXPECT_EQ(part.End(), part.offset);
  }
}

TEST(View, PrintsOffsetSizesAndStrides) {
  EXPECT_EQ(ToString(MatrixView(0, 3, 20, 500, 1, 20)), "[3+20x500 by 1,20]");
  EXPECT_EQ(ToString(PackedView(0, 0, {500}, Order::Own(1))), "[0+1x500 by 500,1]");
  EXPECT_EQ(ToString(PackedView(0, 7, {}, Order::Own(0))), "[7+1x1 by 1,1]");
  EXPECT_EQ(ToString(PackedView(0, 0, {2, 3, 4, 5}, Order::Outermost(2, 4))),
            "[0+2x3x4x5 by 15,5,30,1]");
}

TEST(View, IsPackedInTheOrderItIsStored) {
  const Order rows = Order::Own(2);
  const Order columns = Order::Outermost(1, 2);
  const View by_rows = MatrixView(0, 0, 4, 6, 6, 1);
  EXPECT_TRUE(IsPacked(by_rows, rows));
  EXPECT_FALSE(IsPacked(by_rows, columns));
  EXPECT_TRUE(IsPacked(MatrixView(0, 0, 4, 6, 1, 4), columns));
  EXPECT_TRUE(IsPacked(by_rows.Sub(0, 1, 2), rows));
  EXPECT_FALSE(IsPacked(by_rows.Sub(1, 1, 5), rows));
  // One row, or nothing, is packed both ways; one column of many is not.
  for (const Order& order : {rows, columns}) {
    EXPECT_TRUE(IsPacked(by_rows.Sub(0, 2, 1).Sub(1, 1, 4), order));
    EXPECT_TRUE(IsPacked(by_rows.Sub(0, 2, 0), order));
    EXPECT_FALSE(IsPacked(by_rows.Sub(1, 1, 1), order));
  }
}

// A block of the outermost dimension is contiguous, wherever it is cut.
RC_GTEST_PROP(Order, TheOutermostDimensionIsCutIntoContiguousBlocks, ()) {
  const Shape sizes = DrawSizes(1, kMostDims, 4);
  const auto rank = sizes.size();
  const auto dim = *rc::gen::inRange(0, static_cast<int>(rank));
  const Order order = Order::Outermost(dim, rank);
  const View whole = PackedView(0, 3, sizes, order);
  const std::vector<int64_t> places = PlacesOf(whole);
  RC_ASSERT(std::set<int64_t>(places.begin(), places.end()).size() == places.size());
  RC_ASSERT(whole.End() - whole.offset == whole.size());
  const auto begin = *rc::gen::inRange<int64_t>(0, sizes[dim] + 1);
  const View block = whole.Sub(dim, begin, *rc::gen::inRange<int64_t>(0, sizes[dim] - begin + 1));
  RC_ASSERT(IsPacked(block, order));
  RC_ASSERT(block.End() - block.offset == block.size());
}

RC_GTEST_PROP(PackedOrder, IsThereExactlyWhereAViewFillsItsMemory, ()) {
  const Shape sizes = DrawSizes(0, kMostDims, 3);
  View whole = PackedView(0, 0, sizes, Order::Own(sizes.size()));
  if (!sizes.empty()) {
    const auto dim = *rc::gen::inRange(0, static_cast<int>(sizes.size()));
    whole = PackedView(0, 0, sizes, Order::Outermost(dim, sizes.size()));
    const auto cut = *rc::gen::inRange(0, static_cast<int>(sizes.size()));
    whole = whole.Sub(cut, 0, *rc::gen::inRange<int64_t>(1, sizes[cut] + 1));
    std::rotate(whole.dims.begin(), whole.dims.begin() + cut, whole.dims.end());
  }
  const auto order = PackedOrder(whole);
  RC_ASSERT(order.has_value() == (whole.End() - whole.offset == whole.size()));
  if (order) RC_ASSERT(IsPacked(whole, *order));
}

// Merged views go through the same pairs of elements.
RC_GTEST_PROP(MergeDims, KeepsWhichElementsBelongTogether, ()) {
  const Shape sizes = DrawSizes(0, kMostDims, 3);
  const auto draw = [&] {
    const int dim = sizes.empty() ? 0 : *rc::gen::inRange(0, static_cast<int>(sizes.size()));
    Shape larger = sizes;
    if (!larger.empty() && *rc::gen::arbitrary<bool>()) ++larger.back();
    View view = PackedView(0, 0, larger, Order::Outermost(dim, larger.size()));
    for (int d = 0; d < view.rank(); ++d) view = view.Sub(d, 0, sizes[d]);
    return view;
  };
  const View a = draw();
  const View b = draw();
  View merged_a = a, merged_b = b;
  Dims* const both[] = {&merged_a.dims, &merged_b.dims};
  MergeDims(both);
  RC_ASSERT(merged_a.rank() <= a.rank());
  const auto pairs = [](const View& x, const View& y) {
    const std::vector<int64_t> of_x = PlacesOf(x), of_y = PlacesOf(y);
    std::map<int64_t, int64_t> pairs;
    for (size_t i = 0; i < of_x.size(); ++i) pairs[of_x[i]] = of_y.at(i);
    return pairs;
  };
  RC_ASSERT(pairs(a, b) == pairs(merged_a, merged_b));
}

TEST(MergeDims, MakesOneOfWhatIsPacked) {
  View view = PackedView(0, 0, {2, 1, 3, 4}, Order::Outermost(2, 4));
  Dims* const only[] = {&view.dims};
  MergeDims(only);
  EXPECT_EQ(view.dims, (Dims{{24, 1}}));
}

RC_GTEST_PROP(Overlap, IsExactForBoxesOfOneTensor, ()) {
  const Shape sizes = DrawSizes(1, kMostDims, 4);
  const auto dim = *rc::gen::inRange(0, static_cast<int>(sizes.size()));
  const View whole = PackedView(0, 2, sizes, Order::Outermost(dim, sizes.size()));
  const View a = DrawBox(whole);
  const View b = DrawBox(whole);
  const bool share = ShareAnElement(a, b);
  RC_CLASSIFY(share);
  RC_ASSERT(Overlap(a, b) == share);
  RC_ASSERT(Overlap(b, a) == share);
}

// Two tensors that have nothing in common but their memory.
RC_GTEST_PROP(Overlap, IsExactForBoxesOfTwoTensors, ()) {
  const auto draw = [] {
    const Shape sizes = DrawSizes(1, 4, 4);
    const auto dim = *rc::gen::inRange(0, static_cast<int>(sizes.size()));
    return DrawBox(PackedView(0, *rc::gen::inRange<int64_t>(0, 9), sizes,
                              Order::Outermost(dim, sizes.size())));
  };
  const View a = draw();
  const View b = draw();
  const bool share = ShareAnElement(a, b);
  RC_CLASSIFY(share);
  RC_ASSERT(Overlap(a, b) == share);
}

RC_GTEST_PROP(Overlap, NeverMissesOneWhateverTheStrides, ()) {
  const auto draw = [] {
    View view{*rc::gen::inRange(0, 2), *rc::gen::inRange<int64_t>(0, 12), {}};
    const int rank = *rc::gen::inRange(0, 5);
    for (int d = 0; d < rank; ++d) {
      view.dims.push_back({*rc::gen::inRange<int64_t>(0, 5), *rc::gen::inRange<int64_t>(0, 40)});
    }
    return view;
  };
  const View a = draw();
  const View b = draw();
  const bool share = ShareAnElement(a, b);
  RC_CLASSIFY(share);
  if (share) RC_ASSERT(Overlap(a, b));
}

TEST(Overlap, KnowsBlocksOfAMatrixApart) {
  const View whole = MatrixView(0, 0, 4, 6, 6, 1);
  EXPECT_FALSE(Overlap(whole.Sub(1, 0, 3), whole.Sub(1, 3, 3)));
  EXPECT_FALSE(Overlap(whole.Sub(0, 0, 2), whole.Sub(0, 2, 2)));
  EXPECT_TRUE(Overlap(whole.Sub(1, 0, 4), whole.Sub(0, 3, 1).Sub(1, 3, 1)));
  EXPECT_FALSE(Overlap(whole.Sub(1, 0, 0), whole));
  View elsewhere = whole;
  elsewhere.buffer = 1;
  EXPECT_FALSE(Overlap(whole, elsewhere));
}

// Strides of the size of real tensors, which no search over elements could decide.
TEST(Overlap, TellsHeadsOfLargeTensorsApart) {
  const View whole = PackedView(0, 0, {64, 4096, 8, 16, 128}, Order::Own(5));
  const View heads = whole.Sub(2, 3, 2);
  EXPECT_FALSE(Overlap(heads, whole.Sub(2, 0, 3)));
  EXPECT_FALSE(Overlap(heads, whole.Sub(2, 5, 3)));
  EXPECT_TRUE(Overlap(heads, whole.Sub(2, 4, 1).Sub(4, 127, 1)));
  EXPECT_FALSE(Overlap(heads.Sub(4, 0, 64), heads.Sub(4, 64, 64)));
  const View tokens = MatrixView(0, 0, 64 * 4096, 8 * 16 * 128, 8 * 16 * 128, 1);  // merged
  EXPECT_TRUE(Overlap(heads, tokens));
  EXPECT_FALSE(Overlap(heads, tokens.Sub(1, 0, 3 * 16 * 128)));
}

// What can't be decided in short is taken for an overlap.
TEST(Overlap, SaysThatTheyMeetWhereItDoesNotKnow) {
  View a{0, 0, {}}, b{0, 1, {}};
  for (int64_t stride : {1000002, 1001004, 1003012, 1007024, 1013046, 1019068}) {
    a.dims.push_back({1000, stride});
    b.dims.push_back({1000, stride + 120});
  }
  EXPECT_FALSE(Overlap(a, b));  // all strides are even, and the offsets' distance is not
  b.offset = 2;
  EXPECT_TRUE(Overlap(a, b));
}

}  // namespace
}  // namespace tp
