// The bits of an element of a blocked product are those of its row and column alone.

#include "backends/cpu/blocked_gemm.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "tp/core/random.h"
#include "tp/core/shard_geometry.h"

namespace tp::cpu {
namespace {

enum class Lies { kByRows, kByColumns, kInLargerByRows };

// A matrix of `dtype` in memory of its own.
class TestMatrix {
 public:
  TestMatrix(DType dtype, int64_t rows, int64_t columns, Lies lies) : dtype_(dtype) {
    const int64_t margin = lies == Lies::kInLargerByRows ? 3 : 0;
    const int64_t row_stride = lies == Lies::kByColumns ? 1 : columns + margin;
    matrix_ = {nullptr, rows, columns, row_stride, lies == Lies::kByColumns ? rows : 1};
    bytes_.resize((rows * (columns + margin) + 1) * SizeOf(dtype), std::byte{0x7f});
    matrix_.data =
        bytes_.data() + margin / 3 * SizeOf(dtype);  // one element off, where it has room
  }

  TestMatrix(TestMatrix&&) = default;  // a copy would view the memory of the first
  TestMatrix(const TestMatrix&) = delete;

  const Matrix& matrix() const { return matrix_; }
  std::byte* At(int64_t i, int64_t j) const {
    return static_cast<std::byte*>(matrix_.data) +
           (i * matrix_.row_stride + j * matrix_.column_stride) * SizeOf(dtype_);
  }
  void Set(int64_t i, int64_t j, double value) {
    EncodeFromDouble(dtype_, std::span(&value, 1), std::span(At(i, j), SizeOf(dtype_)));
  }
  double Get(int64_t i, int64_t j) const {
    double value = 0;
    DecodeToDouble(dtype_, std::span<const std::byte>(At(i, j), SizeOf(dtype_)),
                   std::span(&value, 1));
    return value;
  }

 private:
  DType dtype_;
  std::vector<std::byte> bytes_;
  Matrix matrix_;
};

TestMatrix Random(DType dtype, uint64_t stream, int64_t row, int64_t rows, int64_t column,
                  int64_t columns, Lies lies) {
  TestMatrix m(dtype, rows, columns, lies);
  const RandomTensor random(7, stream);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      m.Set(i, j, random.Uniform(static_cast<uint64_t>((row + i) * 100003 + column + j)));
    }
  }
  return m;
}

struct FreeScratch {
  void operator()(std::byte* memory) const { std::free(memory); }
};
std::unique_ptr<std::byte, FreeScratch> Scratch(DType dtype, int64_t m, int64_t n, int64_t k) {
  const int64_t bytes = BlockedGemmScratchBytes(dtype, m, n, k);
  return std::unique_ptr<std::byte, FreeScratch>(
      static_cast<std::byte*>(std::aligned_alloc(4096, bytes / 4096 * 4096 + 4096)));
}

// Rows [row, row + m) times columns [column, column + n), over blocks `range` of `terms`, from the
// two random matrices of a dtype. One result a node, of `c_dtype`.
std::vector<TestMatrix> Product(DType dtype, DType c_dtype, int64_t row, int64_t m, int64_t column,
                                int64_t n, int64_t terms, BlockRange range, Lies a_lies,
                                Lies b_lies, Lies c_lies) {
  const ShardGeometry blocks(terms, kSumBlocks);
  const int64_t first = blocks.Offset(range.begin);
  const int64_t k = blocks.Offset(range.end) - first;
  const TestMatrix a = Random(dtype, 1, row, m, first, k, a_lies);
  const TestMatrix b = Random(dtype, 2, first, k, column, n, b_lies);
  const BlockedSum sum{terms, LargestNodes(range)};
  std::vector<TestMatrix> c;
  std::vector<Matrix> views;
  for (size_t i = 0; i < sum.nodes.size(); ++i) c.emplace_back(c_dtype, m, n, c_lies);
  for (const TestMatrix& node : c) views.push_back(node.matrix());
  const auto scratch = Scratch(dtype, m, n, k);
  BlockedGemm(dtype, a.matrix(), b.matrix(), sum, c_dtype, views, scratch.get());
  return c;
}

class BlockedGemmTest : public testing::TestWithParam<DType> {};

TEST_P(BlockedGemmTest, BitsDoNotDependOnTheMatrixAround) {
  const DType dtype = GetParam();
  constexpr int64_t kRows = 27;
  constexpr int64_t kColumns = 70;
  for (int64_t terms : {1, 20, 53}) {
    const auto product = [&](int64_t row, int64_t m, int64_t column, int64_t n, Lies a, Lies b,
                             Lies c) {
      return std::move(Product(dtype, dtype, row, m, column, n, terms, BlockRange(), a, b, c)[0]);
    };
    const TestMatrix whole =
        product(0, kRows, 0, kColumns, Lies::kByRows, Lies::kByRows, Lies::kByRows);
    const auto expect_same = [&](const TestMatrix& part, int64_t row, int64_t m, int64_t column,
                                 int64_t n) {
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          ASSERT_EQ(std::memcmp(part.At(i, j), whole.At(row + i, column + j), SizeOf(dtype)), 0)
              << Name(dtype) << ", " << terms << " terms: element " << row + i << ", " << column + j
              << " of a " << m << " x " << n << " product";
        }
      }
    };
    constexpr Lies kAll[] = {Lies::kByRows, Lies::kByColumns, Lies::kInLargerByRows};
    for (Lies a : kAll) {
      for (Lies b : kAll) {
        for (Lies c : kAll) {
          for (int64_t row : {0, 5}) {
            for (int64_t column : {0, 11}) {
              for (auto [m, n] : {std::pair(1, 1), std::pair(22, 59), std::pair(13, 2)}) {
                expect_same(product(row, m, column, n, a, b, c), row, m, column, n);
              }
            }
          }
        }
      }
    }
  }
}

// A product's sum over all blocks, as one rank takes it, is the tree over what several ranks hold.
TEST_P(BlockedGemmTest, RanksMeetAlongOneTree) {
  const DType dtype = GetParam();
  const DType wide = AccumulatorOf(dtype);
  constexpr int64_t kRows = 5;
  constexpr int64_t kColumns = 67;
  for (int64_t terms : {1, 23, 24, 61, 200}) {
    const std::vector<TestMatrix> alone =
        Product(dtype, dtype, 0, kRows, 0, kColumns, terms, BlockRange(), Lies::kByRows,
                Lies::kByRows, Lies::kByRows);
    const TestMatrix& whole = alone[0];
    for (int parts : {1, 2, 3, 4, 6, 8, 12, 24}) {
      BlockedSum tree;
      std::vector<TestMatrix> all;
      for (int part = 0; part < parts; ++part) {
        const BlockRange range = BlocksOfShard(part, parts);
        for (BlockRange node : LargestNodes(range)) tree.nodes.push_back(node);
        for (TestMatrix& node : Product(dtype, wide, 0, kRows, 0, kColumns, terms, range,
                                        Lies::kByRows, Lies::kByColumns, Lies::kByRows)) {
          all.push_back(std::move(node));
        }
      }
      const auto nodes = static_cast<int64_t>(all.size());
      TestMatrix rows(wide, nodes, kRows * kColumns, Lies::kByRows);
      for (int64_t i = 0; i < nodes; ++i) {
        std::memcpy(rows.At(i, 0), all[i].At(0, 0), kRows * kColumns * SizeOf(wide));
      }
      TestMatrix sum(dtype, 1, kRows * kColumns, Lies::kByRows);
      SumBlocks(dtype, rows.matrix(), tree, sum.matrix());
      EXPECT_EQ(std::memcmp(sum.At(0, 0), whole.At(0, 0), kRows * kColumns * SizeOf(dtype)), 0)
          << Name(dtype) << ", " << terms << " terms over " << parts;
    }
  }
}

// Small integers leave no room for rounding, so any order gives the one right result.
TEST_P(BlockedGemmTest, IsTheProduct) {
  const DType dtype = GetParam();
  for (auto [m, n, k] : {std::tuple(1, 1, 1), std::tuple(13, 33, 7), std::tuple(12, 64, 30)}) {
    TestMatrix a(dtype, m, k, Lies::kByRows);
    TestMatrix b(dtype, k, n, Lies::kByColumns);
    TestMatrix c(dtype, m, n, Lies::kByColumns);
    TestMatrix rows(dtype, 1, n, Lies::kByRows);
    const auto value = [](int64_t i) { return static_cast<double>(i % 5 - 2); };
    for (int64_t i = 0; i < m * k; ++i) a.Set(i / k, i % k, value(i));
    for (int64_t i = 0; i < k * n; ++i) b.Set(i / n, i % n, value(i * 3 + 1));
    const auto scratch = Scratch(dtype, m, n, k);
    const BlockedSum sum{k, {BlockRange()}};
    BlockedGemm(dtype, a.matrix(), b.matrix(), sum, dtype, std::span(&c.matrix(), 1),
                scratch.get());
    BlockedSumRows(dtype, b.matrix(), sum, dtype, std::span(&rows.matrix(), 1), scratch.get());
    for (int64_t j = 0; j < n; ++j) {
      double total = 0;
      for (int64_t p = 0; p < k; ++p) total += b.Get(p, j);
      EXPECT_EQ(rows.Get(0, j), total);
      for (int64_t i = 0; i < m; ++i) {
        double product = 0;
        for (int64_t p = 0; p < k; ++p) product += a.Get(i, p) * b.Get(p, j);
        EXPECT_EQ(c.Get(i, j), product) << i << ", " << j;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllDTypes, BlockedGemmTest, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace tp::cpu
