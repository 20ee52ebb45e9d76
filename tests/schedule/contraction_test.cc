#include "tp/schedule/contraction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace tp {
namespace {

using testing::HasSubstr;

const std::map<char, int64_t> kSizes = {{'b', 2}, {'q', 5},  {'k', 7}, {'g', 3}, {'r', 4},
                                        {'d', 6}, {'e', 10}, {'m', 8}, {'n', 9}, {'o', 1}};

Shape ShapeOf(const std::string& dims, const std::map<char, int64_t>& sizes = kSizes) {
  Shape shape;
  for (char letter : dims) shape.push_back(sizes.at(letter));
  return shape;
}

// Tensors in their own order, but for those that `outermost` has a letter of.
struct Operands {
  explicit Operands(const std::string& text, const std::string& outermost = "")
      : letters(Letters::Parse(text).value()) {
    std::vector<std::string> all = letters.operands();
    all.push_back(letters.outputs()[0]);
    for (size_t i = 0; i < all.size(); ++i) {
      const size_t at = outermost.empty() ? 0 : all[i].find(outermost);
      const Order order = all[i].empty() || at == std::string::npos
                              ? Order::Own(all[i].size())
                              : Order::Outermost(static_cast<int>(at), all[i].size());
      views.push_back(PackedView(static_cast<BufferId>(i), 0, ShapeOf(all[i]), order));
    }
  }

  StatusOr<Contraction> Group() const {
    const bool adds = views.size() == 4;
    return GroupLetters(letters, views[0], views[1], views.back(), adds ? &views[2] : nullptr);
  }

  Letters letters;
  std::vector<View> views;
};

std::string Print(const Contraction& c) {
  return ToString(c.a) + " " + ToString(c.b) + (c.added ? " + " + ToString(*c.added) : "") +
         " -> " + ToString(c.c);
}

TEST(Contraction, LeavesMatricesAsTheyAre) {
  EXPECT_EQ(Print(Operands("mk,kn -> mn").Group().value()),
            "[0+8x7 by 7,1] [0+7x9 by 9,1] -> [0+8x9 by 9,1]");
  EXPECT_EQ(Print(Operands("km,nk + n -> mn").Group().value()),
            "[0+8x7 by 1,8] [0+7x9 by 1,7] + [0+1x9 by 9,1] -> [0+8x9 by 9,1]");
  EXPECT_EQ(Print(Operands("mo,on -> mn").Group().value()),
            "[0+8x1 by 1,1] [0+1x9 by 9,1] -> [0+8x9 by 9,1]");
}

// A transformer's products.
TEST(Contraction, MakesOneProductOfHeads) {
  EXPECT_EQ(Print(Operands("bqe,grde -> bqgrd").Group().value()),
            "[0+10x10 by 10,1] [0+10x72 by 1,10] -> [0+10x72 by 72,1]");
  EXPECT_EQ(Print(Operands("bqgrd,grde -> bqe").Group().value()),
            "[0+10x72 by 72,1] [0+72x10 by 10,1] -> [0+10x10 by 10,1]");
  EXPECT_EQ(Print(Operands("bqgrd,bqe -> grde").Group().value()),
            "[0+72x10 by 1,72] [0+10x10 by 10,1] -> [0+72x10 by 10,1]");
}

TEST(Contraction, LoopsOverABatch) {
  // Over b and g, which do not group, and r, which groups with q in neither.
  EXPECT_EQ(Print(Operands("bqgrd,bkgd -> bgrqk").Group().value()),
            "[0+2x3x4x5x6 by 360,24,6,72,1] [0+2x3x4x6x7 by 126,6,0,1,18] -> "
            "[0+2x3x4x5x7 by 420,140,35,7,1]");
  // A batch that groups is one loop.
  EXPECT_EQ(Operands("bgqd,bgkd -> bgqk").Group().value().loops(), 1);
}

// Where the output is gathered over g, g is outermost in it, and a loop.
TEST(Contraction, LoopsWhereTheOutputLiesOtherwise) {
  EXPECT_EQ(Print(Operands("bqe,grde -> bqgrd", "g").Group().value()),
            "[0+3x10x10 by 0,10,1] [0+3x10x24 by 240,1,10] -> [0+3x10x24 by 240,24,1]");
}

// A sum over letters that do not group is a loop in which the output has stride 0; what lies along
// a row is the matrix' own.
TEST(Contraction, SumsOverALoopLast) {
  EXPECT_EQ(Print(Operands("mkd,dkn -> mn").Group().value()),
            "[0+7x8x6 by 6,42,1] [0+7x6x9 by 9,63,1] -> [0+7x8x9 by 0,9,1]");
}

TEST(Contraction, ABiasRunsAlongTheColumns) {
  // Its letters are the first factor's, which so becomes the second.
  EXPECT_EQ(Print(Operands("kn,mk + n -> mn").Group().value()),
            "[0+8x7 by 7,1] [0+7x9 by 9,1] + [0+1x9 by 9,1] -> [0+8x9 by 9,1]");
  EXPECT_THAT(Operands("mk,kn + m,n -> mn").Group().status().message(),
              HasSubstr("two factors and one tensor to add"));
  EXPECT_THAT(Operands("mk,kn + nb -> mn").Group().status().message(),
              HasSubstr("what is added is summed"));
  EXPECT_THAT(Operands("mk -> m").Group().status().message(), HasSubstr("two factors"));
}

TEST(Contraction, ATensorIsAddedAsTheProductLies) {
  EXPECT_EQ(Print(Operands("mk,kn + mn -> mn").Group().value()),
            "[0+8x7 by 7,1] [0+7x9 by 9,1] + [0+8x9 by 9,1] -> [0+8x9 by 9,1]");
  EXPECT_EQ(Print(Operands("mk,kn + nm -> mn").Group().value()),
            "[0+8x7 by 7,1] [0+7x9 by 9,1] + [0+8x9 by 1,8] -> [0+8x9 by 9,1]");
  // Two letters of rows are one dimension where the sum has them as the product does.
  EXPECT_EQ(Print(Operands("bqe,en + bqn -> bqn").Group().value()),
            "[0+10x10 by 10,1] [0+10x9 by 9,1] + [0+10x9 by 9,1] -> [0+10x9 by 9,1]");
  EXPECT_EQ(Operands("bqe,en + qbn -> bqn").Group().value().loops(), 1);
}

// A product has room for six loops.
TEST(Contraction, RefusesMoreLoopsThanAViewHas) {
  const Letters letters = Letters::Parse("abcdef,ghijkl -> ").value();
  View a{0, 0, {}}, b{1, 0, {}};
  for (int d = 0; d < 6; ++d) {
    a.dims.push_back({2, int64_t{1000} << (2 * d)});
    b.dims.push_back({2, int64_t{1000} << (2 * d)});
  }
  EXPECT_THAT(GroupLetters(letters, a, b, View{2, 0, {}}, nullptr).status().message(),
              HasSubstr("11 loops around a matrix product as its operands lie, more than 6"));
}

// By plain loops over the letters, and over what they group to.
class Memory {
 public:
  explicit Memory(int64_t elements, int64_t salt) {
    for (int64_t i = 0; i < elements; ++i) values.push_back((i * 5 + salt) % 11 - 5);
  }
  std::vector<int64_t> values;
};

View DrawView(BufferId buffer, const Shape& sizes, int64_t& elements) {
  Order order = Order::Own(sizes.size());
  if (!sizes.empty() && *rc::gen::arbitrary<bool>()) {
    order = Order::Outermost(*rc::gen::inRange(0, static_cast<int>(sizes.size())), sizes.size());
  }
  Shape whole = sizes;  // of which the view is a box
  for (int64_t& size : whole) size += *rc::gen::inRange<int64_t>(0, 2) * *rc::gen::inRange(0, 2);
  View view = PackedView(buffer, 0, whole, order);
  elements = std::max<int64_t>(view.size(), 1);
  for (int d = 0; d < view.rank(); ++d) view.dims[d].size = sizes[d];
  return view;
}

int64_t PlaceOf(const View& view, const std::string& dims, const std::map<char, int64_t>& point) {
  int64_t place = view.offset;
  for (size_t d = 0; d < dims.size(); ++d) {
    place += point.at(dims[d]) * view.dims[static_cast<int>(d)].stride;
  }
  return place;
}

template <typename F>
void ForEachPoint(std::string over, const std::map<char, int64_t>& sizes,
                  std::map<char, int64_t>& point, const F& f) {
  if (over.empty()) return f();
  const char letter = over.back();
  over.pop_back();
  for (int64_t i = 0; i < sizes.at(letter); ++i) {
    point[letter] = i;
    ForEachPoint(over, sizes, point, f);
  }
}

std::string DrawDims(std::string from, size_t most) {
  std::string dims;
  while (!from.empty() && dims.size() < most) {
    const auto at = *rc::gen::inRange<size_t>(0, from.size());
    if (*rc::gen::inRange(0, 3) > 0) dims += from[at];
    from.erase(at, 1);
  }
  return dims;
}

std::vector<int64_t> Multiply(const Contraction& p, const Memory& a, const Memory& b,
                              const Memory& added, std::vector<int64_t> c) {
  const int loops = p.loops();
  const bool whole = p.added && p.added->rank() == p.c.rank();
  ForEachElement(p.c, [&](const Index& index, int64_t place) {
    bool begins = true;
    int64_t of_a = p.a.offset, of_b = p.b.offset, of_added = p.added ? p.added->offset : 0;
    for (int d = 0; d < loops; ++d) {
      begins = begins && (p.c.dims[d].stride > 0 || index[d] == 0);
      of_a += index[d] * p.a.dims[d].stride;
      of_b += index[d] * p.b.dims[d].stride;
      if (p.added) of_added += index[d] * p.added->dims[d].stride;
    }
    if (whole) of_added += index[loops] * p.added->dims[loops].stride;
    if (p.added) of_added += index[loops + 1] * p.added->dims[loops + (whole ? 1 : 0)].stride;
    if (begins) c.at(place) = p.added ? added.values.at(of_added) : 0;
    for (int64_t k = 0; k < p.a.dims[loops + 1].size; ++k) {
      c.at(place) += a.values.at(of_a + index[loops] * p.a.dims[loops].stride +
                                 k * p.a.dims[loops + 1].stride) *
                     b.values.at(of_b + k * p.b.dims[loops].stride +
                                 index[loops + 1] * p.b.dims[loops + 1].stride);
    }
  });
  return c;
}

RC_GTEST_PROP(Contraction, ComputesWhatTheLettersSay, ()) {
  const std::string dims_a = DrawDims("bgmnkd", 6), dims_b = DrawDims("bgmnkd", 6);
  std::string all = dims_a;
  for (char letter : dims_b) {
    if (all.find(letter) == std::string::npos) all += letter;
  }
  const std::string dims_c = DrawDims(all, 6);
  const bool adds = *rc::gen::arbitrary<bool>();
  const bool whole = *rc::gen::arbitrary<bool>();
  const std::string dims_added = !adds ? "" : whole ? dims_c : DrawDims(dims_c, 6);
  std::map<char, int64_t> sizes;
  for (char letter : all)
    sizes[letter] = *rc::gen::inRange<int64_t>(0, 40) == 0 ? 0 : *rc::gen::inRange<int64_t>(1, 4);
  const Letters letters =
      Letters::Parse(dims_a + "," + dims_b + (adds ? "+" + dims_added : "") + "->" + dims_c)
          .value();
  int64_t of_a, of_b, of_c, of_added;
  const View a = DrawView(0, ShapeOf(dims_a, sizes), of_a);
  const View b = DrawView(1, ShapeOf(dims_b, sizes), of_b);
  const View c = DrawView(2, ShapeOf(dims_c, sizes), of_c);
  const View added = DrawView(3, ShapeOf(dims_added, sizes), of_added);
  const Memory memory_a(of_a, 1), memory_b(of_b, 2), memory_added(of_added, 3);
  RC_LOG() << letters.ToString() << " " << ToString(a) << ToString(b) << ToString(added)
           << ToString(c);
  const auto product = GroupLetters(letters, a, b, c, adds ? &added : nullptr);
  RC_ASSERT(product.status().ToString() == "OK");
  RC_CLASSIFY(product->loops() == 0, "one matrix product");
  RC_LOG() << Print(*product);
  const std::vector<int64_t> before(of_c, 77);
  std::vector<int64_t> expected = before;
  std::map<char, int64_t> point;
  ForEachPoint(dims_c, sizes, point, [&] {
    expected.at(PlaceOf(c, dims_c, point)) =
        adds ? memory_added.values.at(PlaceOf(added, dims_added, point)) : 0;
  });
  ForEachPoint(all, sizes, point, [&] {
    expected.at(PlaceOf(c, dims_c, point)) += memory_a.values.at(PlaceOf(a, dims_a, point)) *
                                              memory_b.values.at(PlaceOf(b, dims_b, point));
  });
  const bool swapped = product->a.buffer == 1;  // so that a bias runs along b's columns
  RC_ASSERT(Multiply(*product, swapped ? memory_b : memory_a, swapped ? memory_a : memory_b,
                     memory_added, before) == expected);
}

}  // namespace
}  // namespace tp
