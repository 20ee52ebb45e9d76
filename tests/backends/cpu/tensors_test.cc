// Kernels on tensors of more than two dimensions, however they lie, and products with loops around
// them, against plain loops. Integers keep it exact.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "backends/cpu/gemm.h"
#include "backends/cpu/kernels.h"
#include "tp/core/dtype.h"
#include "tp/schedule/view.h"

namespace tp::cpu {
namespace {

// A tensor in memory that begins as NaN.
class TestTensor {
 public:
  TestTensor(DType dtype, const View& view)
      : dtype_(dtype), view_(view), memory_((view.End() + 3) * SizeOf(dtype), std::byte{0xff}) {}

  Tensor tensor() { return {memory_.data() + view_.offset * SizeOf(dtype_), view_.dims}; }
  const View& view() const { return view_; }
  double At(int64_t place) const {
    double value;
    const int64_t width = SizeOf(dtype_);
    DecodeToDouble(dtype_, std::span(memory_).subspan(place * width, width), std::span(&value, 1));
    return value;
  }
  void Set(int64_t place, double value) {
    const int64_t width = SizeOf(dtype_);
    EncodeFromDouble(dtype_, std::span(&value, 1),
                     std::span(memory_).subspan(place * width, width));
  }
  // Small integers.
  void Fill(int64_t salt) {
    ForEachElement(view_, [&](const Index&, int64_t place) {
      Set(place, static_cast<double>((place * 7 + salt) % 5 - 2));
    });
  }
  // Row-major.
  std::vector<double> Values() const {
    std::vector<double> values;
    ForEachElement(view_, [&](const Index&, int64_t place) { values.push_back(At(place)); });
    return values;
  }
  // Whether all but its elements is as it was.
  bool SurroundingsIntact() const {
    std::vector<std::byte> rest = memory_;
    ForEachElement(view_, [&](const Index&, int64_t place) {
      std::fill_n(rest.begin() + place * SizeOf(dtype_), SizeOf(dtype_), std::byte{0xff});
    });
    return std::all_of(rest.begin(), rest.end(), [](std::byte b) { return b == std::byte{0xff}; });
  }

 private:
  DType dtype_;
  View view_;
  std::vector<std::byte> memory_;
};

Shape DrawSizes(int least, int most) {
  Shape sizes(*rc::gen::inRange(least, most + 1));
  for (int64_t& size : sizes) {
    size = *rc::gen::inRange(0, 30) == 0 ? 0 : *rc::gen::inRange<int64_t>(1, 5);
  }
  return sizes;
}

// In any order, packed or a box of something larger.
View DrawView(const Shape& sizes) {
  Order order = Order::Own(sizes.size());
  if (!sizes.empty()) {
    order = Order::Outermost(*rc::gen::inRange(0, static_cast<int>(sizes.size())), sizes.size());
  }
  Shape whole = sizes;
  for (int64_t& size : whole) size += *rc::gen::inRange(0, 3) == 0 ? 1 : 0;
  View view = PackedView(0, *rc::gen::inRange<int64_t>(0, 3), whole, order);
  for (int d = 0; d < view.rank(); ++d) view.dims[d].size = sizes[d];
  return view;
}

DType DrawType() {
  return *rc::gen::elementOf(std::vector<DType>(std::begin(kAllDTypes), std::end(kAllDTypes)));
}

RC_GTEST_PROP(Tensors, ElementwiseKernelsTakeAnyView, ()) {
  const DType dtype = DrawType();
  const Shape sizes = DrawSizes(0, kMostDims);
  TestTensor a(dtype, DrawView(sizes)), b(dtype, DrawView(sizes)), out(dtype, DrawView(sizes));
  a.Fill(1);
  b.Fill(2);
  std::vector<double> sum = a.Values();
  std::vector<double> stepped = sum;
  for (size_t i = 0; i < sum.size(); ++i) {
    sum[i] += b.Values()[i];
    stepped[i] -= 0.5 * b.Values()[i];
  }
  Add(dtype, a.tensor(), b.tensor(), out.tensor());
  RC_ASSERT(out.Values() == sum);
  Copy(dtype, b.tensor(), out.tensor());
  RC_ASSERT(out.Values() == b.Values());
  Sgd(dtype, 0.5, a.tensor(), b.tensor());
  RC_ASSERT(a.Values() == stepped);
  RC_ASSERT(a.SurroundingsIntact() && b.SurroundingsIntact() && out.SurroundingsIntact());
}

RC_GTEST_PROP(Tensors, LossesTakeAnyViewAndDoNotDependOnIt, ()) {
  const DType dtype = DrawType();
  const Shape sizes = DrawSizes(0, kMostDims);
  TestTensor y(dtype, DrawView(sizes)), t(dtype, DrawView(sizes)), dy(dtype, DrawView(sizes));
  y.Fill(1);
  t.Fill(2);
  double expected = 0;
  std::vector<double> gradient;
  for (size_t i = 0; i < y.Values().size(); ++i) {
    const double error = y.Values()[i] - t.Values()[i];
    expected += 0.5 * error * error;
    gradient.push_back(error);
  }
  TestTensor loss(AccumulatorOf(dtype), View{0, 0, {}});
  const Tensor on_dy = dy.tensor();
  MseLossGrad(dtype, 0.5, y.tensor(), t.tensor(), loss.tensor().data, &on_dy);
  RC_ASSERT(loss.Values() == std::vector<double>{expected});
  RC_ASSERT(dy.Values() == gradient);
  RC_ASSERT(dy.SurroundingsIntact());
}

// The bits of a loss of random numbers are the same however y lies.
TEST(Tensors, ALossHasTheSameBitsHoweverItLies) {
  const Shape sizes = {3, 5, 33, 70};
  std::vector<float> losses;
  for (int dim = 0; dim < 4; ++dim) {
    TestTensor y(DType::kFloat32, PackedView(0, 0, sizes, Order::Outermost(dim, 4)));
    TestTensor t(DType::kFloat32, PackedView(0, 0, sizes, Order::Own(4)));
    int64_t i = 0;
    ForEachElement(y.view(), [&](const Index&, int64_t place) {
      y.Set(place, 1.0 / static_cast<double>(++i));
    });
    t.Fill(1);
    losses.emplace_back();
    MseLossGrad(DType::kFloat32, 0.1, y.tensor(), t.tensor(), &losses.back(), nullptr);
    EXPECT_EQ(losses.back(), losses.front());
  }
}

// Dimensions of the loops around a product; c lacks those that it is a sum over.
struct Loop {
  int64_t size;
  bool in_a, in_b, in_bias, in_c;
};

View Arranged(const std::vector<Loop>& loops, bool Loop::*in, const Shape& matrix) {
  Shape sizes;
  for (const Loop& loop : loops) {
    if (loop.*in) sizes.push_back(loop.size);
  }
  sizes.insert(sizes.end(), matrix.begin(), matrix.end());
  const View drawn = DrawView(sizes);
  View view{drawn.buffer, drawn.offset, {}};
  int at = 0;
  for (const Loop& loop : loops) {
    view.dims.push_back({loop.size, loop.*in ? drawn.dims[at++].stride : 0});
  }
  for (size_t d = 0; d < matrix.size(); ++d) view.dims.push_back(drawn.dims[at++]);
  return view;
}

RC_GTEST_PROP(Tensors, ProductsRunInLoopsHoweverTheirMatricesLie, ()) {
  const DType dtype = DrawType();
  std::vector<Loop> loops(*rc::gen::inRange(0, 4));
  for (Loop& loop : loops) {
    loop.size = *rc::gen::inRange<int64_t>(1, 4);
    loop.in_c = *rc::gen::inRange(0, 3) > 0;
    loop.in_a = *rc::gen::arbitrary<bool>();
    loop.in_b = *rc::gen::arbitrary<bool>();
    loop.in_bias = loop.in_c && *rc::gen::arbitrary<bool>();
  }
  const auto draw = [] { return *rc::gen::inRange<int64_t>(1, 25); };
  const int64_t m = draw(), n = draw();
  const int64_t k = *rc::gen::inRange(0, 20) == 0 ? 0 : draw();
  TestTensor a(dtype, Arranged(loops, &Loop::in_a, {m, k}));
  TestTensor b(dtype, Arranged(loops, &Loop::in_b, {k, n}));
  TestTensor bias(dtype, Arranged(loops, &Loop::in_bias, {n}));
  TestTensor c(dtype, Arranged(loops, &Loop::in_c, {m, n}));
  a.Fill(1);
  b.Fill(2);
  bias.Fill(3);
  const bool biased = *rc::gen::arbitrary<bool>();
  std::vector<double> expected(c.view().End() + 1);
  const auto place = [&](const View& view, const Index& index) {
    int64_t at = view.offset;
    for (size_t d = 0; d < loops.size(); ++d) {
      at += index[d] * view.dims[static_cast<int>(d)].stride;
    }
    return at;
  };
  const auto l = static_cast<int>(loops.size());
  ForEachElement(c.view(), [&](const Index& index, int64_t at) {
    bool begins = true;
    for (int d = 0; d < l; ++d) begins = begins && (loops[d].in_c || index[d] == 0);
    double& sum = expected[at];
    if (begins) {
      sum = biased ? bias.At(place(bias.view(), index) + index[l + 1] * bias.view().dims[l].stride)
                   : 0;
    }
    for (int64_t i = 0; i < k; ++i) {
      sum += a.At(place(a.view(), index) + index[l] * a.view().dims[l].stride +
                  i * a.view().dims[l + 1].stride) *
             b.At(place(b.view(), index) + i * b.view().dims[l].stride +
                  index[l + 1] * b.view().dims[l + 1].stride);
    }
  });
  const Tensor on_bias = bias.tensor();
  const Tensor* const bias_or_none = biased ? &on_bias : nullptr;
  std::vector<double> scratch(
      GemmScratchBytes(dtype, a.tensor(), b.tensor(), bias_or_none, c.tensor()) / 8 + 1, -1);
  scratch.push_back(77);
  Gemm(dtype, a.tensor(), b.tensor(), bias_or_none, c.tensor(),
       reinterpret_cast<std::byte*>(scratch.data()));
  RC_ASSERT(scratch.back() == 77);
  ForEachElement(c.view(), [&](const Index&, int64_t at) {
    RC_ASSERT(c.At(at) == RoundTo(dtype, expected[at]));
  });
  RC_ASSERT(c.SurroundingsIntact());
}

}  // namespace
}  // namespace tp::cpu
