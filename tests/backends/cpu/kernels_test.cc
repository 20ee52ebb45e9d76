// Every kernel against plain loops in double, in every type and layout. Where the inputs leave one
// rounding to each operation the expected bits are known; elsewhere the bound follows from the
// types.
#include "backends/cpu/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "tests/backends/cpu/test_matrix.h"
#include "tp/core/dtype.h"
#include "tp/verify/bounds.h"

namespace tp::cpu {
namespace {

struct Size {
  int64_t rows, columns;
};
// None, one, and around the 16 lanes of a sum and the 256 columns of a tile.
constexpr Size kSizes[] = {{0, 0},  {0, 5},  {5, 0},   {1, 1},   {1, 17}, {17, 1},
                           {3, 15}, {16, 3}, {33, 18}, {2, 259}, {67, 5}};

class KernelsTest : public testing::TestWithParam<DType> {
 protected:
  // Rounded as a kernel does it: once to the type of arithmetic, once at the store.
  double Stored(double value) const { return RoundTo(dtype_, RoundTo(Wide(), value)); }
  DType Wide() const { return AccumulatorOf(dtype_); }
  // How far from `value` it may be stored.
  double StoreError(double value) const {
    return verify::StoreRoundoff(dtype_) * std::abs(value) + verify::UnderflowUnit(dtype_);
  }

  void ForSizes(const std::function<void(Size)>& check) {
    for (const Size& size : kSizes) {
      SCOPED_TRACE(std::to_string(size.rows) + " x " + std::to_string(size.columns));
      check(size);
    }
  }

  // Every pair of layouts.
  void ForLayouts(const std::function<void(Size, Layout, Layout)>& check) {
    ForSizes([&](Size size) {
      for (Layout first : kAllLayouts) {
        for (Layout second : kAllLayouts) {
          SCOPED_TRACE(Name(first) + ", " + Name(second));
          check(size, first, second);
        }
      }
    });
  }

  const DType dtype_ = GetParam();
};

TEST_P(KernelsTest, CopyKeepsBits) {
  ForLayouts([&](Size size, Layout from, Layout to) {
    TestMatrix in(dtype_, size.rows, size.columns, from);
    TestMatrix out(dtype_, size.rows, size.columns, to);
    in.FillUniform(1);
    Copy(dtype_, in.view(), out.view());
    for (int64_t i = 0; i < size.rows; ++i) {
      for (int64_t j = 0; j < size.columns; ++j) ASSERT_EQ(out.At(i, j), in.At(i, j));
    }
    EXPECT_TRUE(out.SurroundingsIntact());
  });
}

TEST_P(KernelsTest, CopyKeepsWhatIsNoNumber) {
  TestMatrix in(dtype_, 1, 4, Layout::kRows);  // the first one is a NaN
  TestMatrix out(dtype_, 1, 4, Layout::kColumns);
  in.Set(0, 1, std::numeric_limits<double>::infinity());
  in.Set(0, 2, -0.0);
  in.Set(0, 3, MinNormal(dtype_) / 2);
  out.FillIntegers(1);
  Copy(dtype_, in.view(), out.view());
  EXPECT_TRUE(std::isnan(out.At(0, 0)));
  EXPECT_EQ(out.At(0, 1), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(out.At(0, 2) == 0 && std::signbit(out.At(0, 2)));
  EXPECT_EQ(out.At(0, 3), MinNormal(dtype_) / 2);
}

TEST_P(KernelsTest, AddRoundsOnce) {
  ForLayouts([&](Size size, Layout a_layout, Layout out_layout) {
    TestMatrix a(dtype_, size.rows, size.columns, a_layout);
    TestMatrix b(dtype_, size.rows, size.columns, out_layout);
    TestMatrix out(dtype_, size.rows, size.columns, out_layout);
    a.FillUniform(1);
    b.FillUniform(2);
    Add(dtype_, a.view(), b.view(), out.view());
    for (int64_t i = 0; i < size.rows; ++i) {
      for (int64_t j = 0; j < size.columns; ++j) {
        ASSERT_EQ(out.At(i, j), Stored(a.At(i, j) + b.At(i, j)));
      }
    }
    EXPECT_TRUE(out.SurroundingsIntact());
  });
}

TEST_P(KernelsTest, AddBiasRoundsOnce) {
  ForLayouts([&](Size size, Layout y_layout, Layout out_layout) {
    TestMatrix y(dtype_, size.rows, size.columns, y_layout);
    TestMatrix b(dtype_, 1, size.columns, out_layout);
    TestMatrix out(dtype_, size.rows, size.columns, out_layout);
    y.FillUniform(1);
    b.FillUniform(2);
    TestMatrix in_place = y;
    AddBias(dtype_, y.view(), b.view(), out.view());
    AddBias(dtype_, in_place.view(), b.view(), in_place.view());
    for (int64_t i = 0; i < size.rows; ++i) {
      for (int64_t j = 0; j < size.columns; ++j) {
        const double expected = Stored(y.At(i, j) + b.At(0, j));
        ASSERT_EQ(out.At(i, j), expected);
        ASSERT_EQ(in_place.At(i, j), expected);
      }
    }
    EXPECT_TRUE(out.SurroundingsIntact() && in_place.SurroundingsIntact());
  });
}

TEST_P(KernelsTest, SumRowsIsExactOnIntegers) {
  ForLayouts([&](Size size, Layout in, Layout out) {
    TestMatrix g(dtype_, size.rows, size.columns, in);
    TestMatrix sums(dtype_, 1, size.columns, out);
    g.FillIntegers(3);
    SumRows(dtype_, g.view(), sums.view());
    for (int64_t j = 0; j < size.columns; ++j) {
      double expected = 0;
      for (int64_t i = 0; i < size.rows; ++i) expected += g.At(i, j);
      ASSERT_EQ(sums.At(0, j), Stored(expected));
    }
    EXPECT_TRUE(sums.SurroundingsIntact());
  });
}

TEST_P(KernelsTest, SumRowsAddsInDouble) {
  ForLayouts([&](Size size, Layout in, Layout out) {
    TestMatrix g(dtype_, size.rows, size.columns, in);
    TestMatrix sums(dtype_, 1, size.columns, out);
    g.FillUniform(4);
    SumRows(dtype_, g.view(), sums.view());
    const double gamma =
        verify::Gamma(static_cast<double>(size.rows), UnitRoundoff(DType::kFloat64));
    for (int64_t j = 0; j < size.columns; ++j) {
      long double expected = 0;
      double magnitude = 0;
      for (int64_t i = 0; i < size.rows; ++i) {
        expected += g.At(i, j);
        magnitude += std::abs(g.At(i, j));
      }
      const auto exact = static_cast<double>(expected);
      ASSERT_LE(std::abs(sums.At(0, j) - exact), 2 * gamma * magnitude + StoreError(exact));
    }
  });
}

TEST_P(KernelsTest, MseIsExactOnIntegers) {
  const double scale = 0.25;
  ForLayouts([&](Size size, Layout y_layout, Layout t_layout) {
    TestMatrix y(dtype_, size.rows, size.columns, y_layout);
    TestMatrix t(dtype_, size.rows, size.columns, t_layout);
    TestMatrix dy(dtype_, size.rows, size.columns, t_layout);
    TestMatrix loss(Wide(), 1, 1, Layout::kRows);
    y.FillIntegers(5);
    t.FillIntegers(6);
    const Tensor dy_view = dy.view();
    MseLossGrad(dtype_, scale, y.view(), t.view(), loss.view().data, &dy_view);
    double squares = 0;
    for (int64_t i = 0; i < size.rows; ++i) {
      for (int64_t j = 0; j < size.columns; ++j) {
        const double difference = y.At(i, j) - t.At(i, j);
        squares += difference * difference;
        ASSERT_EQ(dy.At(i, j), 2 * scale * difference);
      }
    }
    EXPECT_EQ(loss.At(0, 0), scale * squares);
    EXPECT_TRUE(dy.SurroundingsIntact() && loss.SurroundingsIntact());
  });
}

// The loss and its gradient, together and each alone.
TEST_P(KernelsTest, MseStaysWithinTheBound) {
  const double scale = 1.0 / 3;
  const double u = UnitRoundoff(DType::kFloat64);
  ForLayouts([&](Size size, Layout y_layout, Layout t_layout) {
    TestMatrix y(dtype_, size.rows, size.columns, y_layout);
    TestMatrix t(dtype_, size.rows, size.columns, t_layout);
    TestMatrix dy(dtype_, size.rows, size.columns, y_layout);
    TestMatrix dy_alone = dy;
    TestMatrix loss(Wide(), 1, 1, Layout::kRows);
    TestMatrix loss_alone = loss;
    y.FillUniform(7);
    t.FillUniform(8);
    const Tensor dy_view = dy.view();
    const Tensor dy_alone_view = dy_alone.view();
    MseLossGrad(dtype_, scale, y.view(), t.view(), loss.view().data, &dy_view);
    MseLossGrad(dtype_, scale, y.view(), t.view(), loss_alone.view().data, nullptr);
    MseLossGrad(dtype_, scale, y.view(), t.view(), nullptr, &dy_alone_view);
    double squares = 0;
    for (int64_t i = 0; i < size.rows; ++i) {
      for (int64_t j = 0; j < size.columns; ++j) {
        const double difference = y.At(i, j) - t.At(i, j);
        const double expected = 2 * scale * difference;
        squares += difference * difference;
        ASSERT_LE(std::abs(dy.At(i, j) - expected),
                  2 * verify::Gamma(3, u) * std::abs(expected) + StoreError(expected));
        ASSERT_EQ(dy_alone.At(i, j), dy.At(i, j));
      }
    }
    const double n = static_cast<double>(size.rows * size.columns);
    const double expected = scale * squares;
    EXPECT_LE(std::abs(loss.At(0, 0) - expected),
              (2 * verify::Gamma(n + 3, u) + UnitRoundoff(Wide())) * expected);
    EXPECT_EQ(loss_alone.At(0, 0), loss.At(0, 0));
  });
}

TEST_P(KernelsTest, SgdIsExactOnIntegers) {
  ForLayouts([&](Size size, Layout w_layout, Layout g_layout) {
    TestMatrix w(dtype_, size.rows, size.columns, w_layout);
    TestMatrix g(dtype_, size.rows, size.columns, g_layout);
    w.FillIntegers(9);
    g.FillIntegers(10);
    const TestMatrix before = w;
    Sgd(dtype_, 0.5, w.view(), g.view());
    for (int64_t i = 0; i < size.rows; ++i) {
      for (int64_t j = 0; j < size.columns; ++j) {
        ASSERT_EQ(w.At(i, j), before.At(i, j) - 0.5 * g.At(i, j));
      }
    }
    EXPECT_TRUE(w.SurroundingsIntact() && g.SurroundingsIntact());
  });
}

TEST_P(KernelsTest, SgdStaysWithinTheBound) {
  const double rate = 0.3;
  const double u = UnitRoundoff(Wide());
  ForLayouts([&](Size size, Layout w_layout, Layout g_layout) {
    TestMatrix w(dtype_, size.rows, size.columns, w_layout);
    TestMatrix g(dtype_, size.rows, size.columns, g_layout);
    w.FillUniform(11);
    g.FillUniform(12);
    const TestMatrix before = w;
    Sgd(dtype_, rate, w.view(), g.view());
    for (int64_t i = 0; i < size.rows; ++i) {
      for (int64_t j = 0; j < size.columns; ++j) {
        const double change = rate * g.At(i, j);
        const double expected = before.At(i, j) - change;
        // The rate and the product may each be rounded; the difference is rounded and stored.
        ASSERT_LE(std::abs(w.At(i, j) - expected),
                  (1 + u) * verify::Gamma(2, u) * std::abs(change) + 2 * StoreError(expected));
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(All, KernelsTest, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace tp::cpu
