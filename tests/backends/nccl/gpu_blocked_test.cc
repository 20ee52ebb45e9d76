// The kernels of the invariant sum order against plain loops in that order, to the bit: on odd
// shapes, in every layout and type, for any range of blocks. The margins must stay as they were.
// Those of tensor cores, whose order is not known, so on numbers that never round, and on others
// against themselves, where the same terms lie elsewhere.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "backends/nccl/kernels/blocked.h"
#include "tests/backends/nccl/device_tensor.h"
#include "tp/core/shard_geometry.h"
#include "tp/core/sum_order.h"

namespace tp::nccl {
namespace {

constexpr BlockRange kRanges[] = {{0, 24}, {0, 12}, {8, 16}, {16, 24}, {5, 6}, {3, 22}};

// What the tree makes of the blocks' own sums; `of_block` gives one.
template <typename W, typename OfBlock>
W SumOfNode(BlockRange node, const OfBlock& of_block) {
  if (node.end - node.begin == 1) return of_block(node.begin);
  const W first = SumOfNode<W>({node.begin, node.Middle()}, of_block);
  const W second = SumOfNode<W>({node.Middle(), node.end}, of_block);
  return first + second;
}

// Calls f(W{}) with the type in which `dtype` is summed up.
template <typename F>
void WithAccumulator(DType dtype, const F& f) {
  if (AccumulatorOf(dtype) == DType::kFloat64) {
    f(double{});
  } else {
    f(float{});
  }
}

// The terms of a range of blocks: where they begin in the whole sum, and how many there are.
struct Terms {
  Terms(int64_t terms, BlockRange range)
      : blocks(terms, kSumBlocks),
        first(blocks.Offset(range.begin)),
        count(blocks.Offset(range.end) - first),
        sum{terms, LargestNodes(range)} {}

  const ShardGeometry blocks;
  const int64_t first;
  const int64_t count;
  const BlockedSum sum;
};

// An output a node.
class NodeTensors {
 public:
  NodeTensors(const Terms& terms, DType dtype, int64_t rows, int64_t columns, Layout layout) {
    for (size_t i = 0; i < terms.sum.nodes.size(); ++i) {
      tensors_.push_back(std::make_unique<DeviceTensor>(dtype, rows, columns, layout));
      tensors_.back()->Upload();
      matrices_.push_back(tensors_.back()->matrix());
    }
  }
  const std::vector<DeviceMatrix>& matrices() const { return matrices_; }
  std::vector<double> DownloadRows(size_t node) const { return tensors_[node]->DownloadRows(); }

  // expected[i] holds node i, row by row.
  void ExpectBits(const std::vector<std::vector<double>>& expected, const std::string& what) const {
    for (size_t node = 0; node < tensors_.size(); ++node) {
      const int64_t columns = matrices_[node].columns;
      tensors_[node]->ExpectBits(
          [&](int64_t i, int64_t j) { return expected[node][i * columns + j]; },
          what + ", node " + std::to_string(node));
    }
  }

 private:
  std::vector<std::unique_ptr<DeviceTensor>> tensors_;
  std::vector<DeviceMatrix> matrices_;
};

// Each node's share of a b, row by row, before it is rounded to be stored.
std::vector<std::vector<double>> Products(const DeviceTensor& a, const DeviceTensor& b,
                                          const Terms& terms) {
  std::vector<std::vector<double>> nodes;
  WithAccumulator(a.matrix().dtype, [&]<typename W>(W) {
    for (BlockRange node : terms.sum.nodes) {
      nodes.emplace_back();
      for (int64_t i = 0; i < a.matrix().rows; ++i) {
        for (int64_t j = 0; j < b.matrix().columns; ++j) {
          nodes.back().push_back(SumOfNode<W>(node, [&](int block) {
            W sum = 0;
            for (int64_t p = terms.blocks.Offset(block); p < terms.blocks.Offset(block + 1); ++p) {
              sum = std::fma(static_cast<W>(a.At(i, p - terms.first)),
                             static_cast<W>(b.At(p - terms.first, j)), sum);
            }
            return sum;
          }));
        }
      }
    }
  });
  return nodes;
}

struct Product {
  DType dtype;
  int64_t rows, columns, terms;
  BlockRange range;

  std::string ToString() const {
    return std::string(Name(dtype)) + " " + std::to_string(rows) + "x" + std::to_string(columns) +
           ", blocks " + std::to_string(range.begin) + " to " + std::to_string(range.end) + " of " +
           std::to_string(terms) + " terms";
  }
};

using Multiply = decltype(BlockedGemm);

// In each of `layouts` for each matrix; c in both types that it may have.
void ExpectProduct(const Product& p, const std::vector<std::tuple<Layout, Layout, Layout>>& all,
                   Multiply* multiply = BlockedGemm) {
  const Terms terms(p.terms, p.range);
  std::vector<std::vector<double>> expected;
  for (const auto& [a_layout, b_layout, c_layout] : all) {
    DeviceTensor a(p.dtype, p.rows, terms.count, a_layout);
    DeviceTensor b(p.dtype, terms.count, p.columns, b_layout);
    if (multiply == BlockedGemm) {
      a.FillReals(1);
      b.FillReals(2);
    } else {
      a.FillIntegers(8, 1);
      b.FillIntegers(8, 2);
    }
    if (expected.empty()) expected = Products(a, b, terms);  // in any layout the same numbers
    for (DType c_dtype : {p.dtype, AccumulatorOf(p.dtype)}) {
      const NodeTensors c(terms, c_dtype, p.rows, p.columns, c_layout);
      ASSERT_EQ(multiply(a.matrix(), b.matrix(), terms.sum, c.matrices(), nullptr), cudaSuccess);
      c.ExpectBits(expected, p.ToString() + " layouts " +
                                 std::to_string(static_cast<int>(a_layout)) + " " +
                                 std::to_string(static_cast<int>(b_layout)) + " " +
                                 std::to_string(static_cast<int>(c_layout)));
    }
  }
}

std::vector<std::tuple<Layout, Layout, Layout>> EveryLayout() {
  std::vector<std::tuple<Layout, Layout, Layout>> all;
  for (Layout a : kAllLayouts) {
    for (Layout b : kAllLayouts) {
      for (Layout c : kAllLayouts) all.emplace_back(a, b, c);
    }
  }
  return all;
}

class GpuBlocked : public testing::TestWithParam<DType> {};

TEST_P(GpuBlocked, GemmInEveryLayout) {
  ExpectProduct({GetParam(), 37, 71, 101, {0, 24}}, EveryLayout());
  ExpectProduct({GetParam(), 71, 5, 53, {8, 16}}, EveryLayout());
}

// Sums without terms, blocks without terms, and blocks of more terms than a tile takes.
TEST_P(GpuBlocked, GemmOverEveryRangeOfBlocks) {
  for (BlockRange range : kRanges) {
    for (int64_t terms : {0, 1, 20, 53, 1000}) {
      for (const auto& [rows, columns] : {std::pair(1, 1), std::pair(33, 65), std::pair(0, 5)}) {
        ExpectProduct({GetParam(), rows, columns, terms, range},
                      {{Layout::kAcross, Layout::kAcross, Layout::kAcross},
                       {Layout::kDown, Layout::kAcross, Layout::kDown}});
      }
    }
  }
}

// As many elements as call for larger tiles.
TEST_P(GpuBlocked, GemmOfManyTiles) {
  const std::vector<std::tuple<Layout, Layout, Layout>> layouts = {
      {Layout::kAcross, Layout::kAcross, Layout::kAcross},
      {Layout::kAcross, Layout::kDown, Layout::kAcrossShifted},
      {Layout::kDown, Layout::kAcross, Layout::kDown},
      {Layout::kDownPadded, Layout::kDown, Layout::kAcrossPadded},
      {Layout::kScattered, Layout::kScattered, Layout::kScattered}};
  ExpectProduct({GetParam(), 210, 2110, 50, {0, 24}}, layouts);
  ExpectProduct({GetParam(), 1030, 300, 450, {3, 6}}, layouts);
}

// A sum that underflows to -0 stays -0, and would not if anything but its own terms were added.
TEST_P(GpuBlocked, GemmAddsNothingToASum) {
  const DType dtype = GetParam();
  const Terms terms(50, {0, 24});
  const double tiny = dtype == DType::kFloat64 ? 1e-200 : 1e-30;
  DeviceTensor a(dtype, 5, terms.count, Layout::kAcross);
  DeviceTensor b(dtype, terms.count, 7, Layout::kAcross);
  a.Fill(-tiny);
  b.Fill(tiny);
  const NodeTensors c(terms, dtype, 5, 7, Layout::kAcross);
  ASSERT_EQ(BlockedGemm(a.matrix(), b.matrix(), terms.sum, c.matrices(), nullptr), cudaSuccess);
  c.ExpectBits(Products(a, b, terms), "-0");
}

TEST_P(GpuBlocked, SumRows) {
  const DType dtype = GetParam();
  for (BlockRange range : kRanges) {
    for (int64_t num_terms : {0, 1, 20, 53, 1000}) {
      for (int64_t columns : {1, 33, 500, 0}) {
        for (Layout layout : kAllLayouts) {
          const Terms terms(num_terms, range);
          DeviceTensor g(dtype, terms.count, columns, layout);
          g.FillReals(3);
          std::vector<std::vector<double>> expected;
          WithAccumulator(dtype, [&]<typename W>(W) {
            for (BlockRange node : terms.sum.nodes) {
              expected.emplace_back();
              for (int64_t j = 0; j < columns; ++j) {
                expected.back().push_back(SumOfNode<W>(node, [&](int block) {
                  W sum = 0;
                  for (int64_t i = terms.blocks.Offset(block); i < terms.blocks.Offset(block + 1);
                       ++i) {
                    sum += static_cast<W>(g.At(i - terms.first, j));
                  }
                  return sum;
                }));
              }
            }
          });
          for (DType out_dtype : {dtype, AccumulatorOf(dtype)}) {
            const NodeTensors out(terms, out_dtype, 1, columns, Layout::kAcross);
            ASSERT_EQ(BlockedSumRows(g.matrix(), terms.sum, out.matrices(), nullptr), cudaSuccess);
            out.ExpectBits(expected, Product{dtype, 1, columns, num_terms, range}.ToString());
          }
        }
      }
    }
  }
}

TEST_P(GpuBlocked, SumBlocks) {
  const DType dtype = GetParam();
  for (int parts : {1, 2, 3, 4, 6, 8, 12, 24}) {
    BlockedSum tree;
    for (int part = 0; part < parts; ++part) {
      for (BlockRange node : LargestNodes(BlocksOfShard(part, parts))) tree.nodes.push_back(node);
    }
    for (int64_t columns : {1, 255, 1000, 0}) {
      for (Layout layout : kAllLayouts) {
        DeviceTensor nodes(AccumulatorOf(dtype), static_cast<int64_t>(tree.nodes.size()), columns,
                           layout);
        DeviceTensor out(dtype, 1, columns, Layout::kAcross);
        nodes.FillReals(4);
        out.Upload();
        ASSERT_EQ(SumBlocks(nodes.matrix(), tree, out.matrix(), nullptr), cudaSuccess);
        WithAccumulator(dtype, [&]<typename W>(W) {
          // A node that is known, or the sum of its halves.
          const auto sum = [&](const auto& self, BlockRange node, int64_t j) -> W {
            for (size_t i = 0; i < tree.nodes.size(); ++i) {
              if (tree.nodes[i] == node) return static_cast<W>(nodes.At(i, j));
            }
            const W first = self(self, {node.begin, node.Middle()}, j);
            const W second = self(self, {node.Middle(), node.end}, j);
            return first + second;
          };
          out.ExpectBits([&](int64_t, int64_t j) { return sum(sum, BlockRange(), j); },
                         std::string(Name(dtype)) + " of " + std::to_string(parts) + " parts");
        });
      }
    }
  }
}

using GpuBlockedOnTensorCores = GpuBlocked;

TEST_P(GpuBlockedOnTensorCores, TakeEachTermOnce) {
  const DType dtype = GetParam();
  ExpectProduct({dtype, 37, 71, 101, {0, 24}}, EveryLayout(), BlockedGemmOnTensorCores);
  ExpectProduct({dtype, 72, 136, 400, {12, 24}}, EveryLayout(), BlockedGemmOnTensorCores);
  ExpectProduct({dtype, 264, 1416, 64, {3, 21}},
                {{Layout::kAcross, Layout::kAcross, Layout::kAcross},
                 {Layout::kAcross, Layout::kDown, Layout::kAcrossShifted},
                 {Layout::kDown, Layout::kAcross, Layout::kDown},
                 {Layout::kDownPadded, Layout::kDown, Layout::kAcrossPadded},
                 {Layout::kScattered, Layout::kScattered, Layout::kScattered}},
                BlockedGemmOnTensorCores);
  for (BlockRange range : kRanges) {
    for (int64_t terms : {0, 1, 20, 53, 1000}) {
      ExpectProduct({dtype, 40, 72, terms, range},
                    {{Layout::kAcross, Layout::kAcross, Layout::kAcross},
                     {Layout::kAcross, Layout::kDown, Layout::kAcross},
                     {Layout::kDown, Layout::kDown, Layout::kDown}},
                    BlockedGemmOnTensorCores);
    }
  }
}

// Rows [row, row + rows) and columns [column, column + columns).
DeviceMatrix PartOf(DeviceMatrix m, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  m.data = static_cast<char*>(m.data) +
           (row * m.row_stride + column * m.column_stride) * SizeOf(m.dtype);
  m.rows = rows;
  m.columns = columns;
  return m;
}

// The nodes of `range`, row by row, of rows from `row` on and columns from `column` on.
std::map<std::pair<int, int>, std::vector<double>> NodesOf(const DeviceTensor& a,
                                                           const DeviceTensor& b, BlockRange range,
                                                           int64_t row, int64_t column,
                                                           Layout layout) {
  const DeviceMatrix all_a = a.matrix(), all_b = b.matrix();
  const Terms terms(all_a.columns, range);
  const int64_t rows = all_a.rows - row, columns = all_b.columns - column;
  const NodeTensors c(terms, DType::kFloat32, rows, columns, layout);
  EXPECT_EQ(BlockedGemmOnTensorCores(PartOf(all_a, row, rows, terms.first, terms.count),
                                     PartOf(all_b, terms.first, terms.count, column, columns),
                                     terms.sum, c.matrices(), nullptr),
            cudaSuccess);
  std::map<std::pair<int, int>, std::vector<double>> nodes;
  for (size_t i = 0; i < terms.sum.nodes.size(); ++i) {
    const BlockRange node = terms.sum.nodes[i];
    nodes[{node.begin, node.end}] = c.DownloadRows(i);
  }
  return nodes;
}

// Cut over any number of ranks, stored in any way, as part of any matrix.
TEST_P(GpuBlockedOnTensorCores, GiveTheBitsOfTheTermsAlone) {
  for (const auto& [rows, columns, num_terms] :
       {std::tuple(88, 136, 400), std::tuple(37, 71, 1001), std::tuple(1544, 1416, 768)}) {
    for (const auto& [of_a, of_b] :
         {std::pair(Layout::kAcross, Layout::kAcross), std::pair(Layout::kDown, Layout::kDown)}) {
      DeviceTensor a(GetParam(), rows, num_terms, of_a), b(GetParam(), num_terms, columns, of_b);
      a.FillReals(1);
      b.FillReals(2);
      DeviceTensor first_a(GetParam(), rows, num_terms, Layout::kAcross);
      DeviceTensor first_b(GetParam(), num_terms, columns, Layout::kAcross);
      first_a.FillReals(1);
      first_b.FillReals(2);
      const std::vector<double> whole =
          NodesOf(first_a, first_b, BlockRange(), 0, 0, Layout::kAcross).begin()->second;
      for (int parts : {1, 2, 3, 4, 8, 24}) {
        const int64_t row = parts % 3 * 5, column = parts % 2 * 8;
        std::map<std::pair<int, int>, std::vector<double>> nodes;
        for (int part = 0; part < parts; ++part) {
          nodes.merge(NodesOf(a, b, BlocksOfShard(part, parts), row, column,
                              parts % 4 == 0 ? Layout::kDown : Layout::kAcross));
        }
        int64_t wrong = 0, i = 0;
        for (int64_t r = row; r < rows; ++r) {
          for (int64_t c = column; c < columns; ++c, ++i) {
            const auto sum = [&](const auto& self, BlockRange node) -> float {
              const auto at = nodes.find({node.begin, node.end});
              if (at != nodes.end()) return static_cast<float>(at->second[i]);
              return self(self, {node.begin, node.Middle()}) +
                     self(self, {node.Middle(), node.end});
            };
            if (sum(sum, BlockRange()) != static_cast<float>(whole[r * columns + c])) ++wrong;
          }
        }
        EXPECT_EQ(wrong, 0) << "of " << i << ", in " << parts << " parts of " << num_terms
                            << " terms";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(SixteenBits, GpuBlockedOnTensorCores,
                         testing::Values(DType::kBFloat16, DType::kFloat16),
                         [](const auto& info) { return std::string(Name(info.param)); });

INSTANTIATE_TEST_SUITE_P(AllDTypes, GpuBlocked, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace tp::nccl
