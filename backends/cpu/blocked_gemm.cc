#include "backends/cpu/blocked_gemm.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "backends/cpu/element.h"
#include "tp/core/shard_geometry.h"

namespace tp::cpu {
namespace {

// As wide as the registers of the processor that is compiled for.
constexpr int kVectorBytes = __BIGGEST_ALIGNMENT__;
// Accumulators fill the registers: 2 x 12 of 32 where vectors have 64 bytes, else 2 x 6 of 16.
constexpr int kTileRows = kVectorBytes == 64 ? 12 : 6;
constexpr int kTileVectors = 2;

template <typename W>
struct Vectors {
  typedef W Aligned __attribute__((vector_size(kVectorBytes)));
  typedef W InArray __attribute__((vector_size(kVectorBytes), aligned(alignof(W)), may_alias));
};
template <typename W>
using Vector = typename Vectors<W>::Aligned;

template <typename W>
constexpr int kTileColumns = kTileVectors* kVectorBytes / static_cast<int>(sizeof(W));

// Sums of one tile of elements.
template <typename W>
struct Tile {
  Vector<W> rows[kTileRows][kTileVectors];

  void Add(const Tile& other) {
    for (int i = 0; i < kTileRows; ++i) {
      for (int v = 0; v < kTileVectors; ++v) rows[i][v] += other.rows[i][v];
    }
  }
};

// A panel holds, for each term of the sum, a tile's rows of a (or columns of b).
template <typename W>
struct Panels {
  const W* a;
  const W* b;
};

enum class Into { kEmpty, kFull };  // a tile that holds nothing yet, or to which sums are added

// One block of a sum: the terms [begin, end), from zero, in order.
template <Into into, typename W>
void SumTerms(const Panels<W>& panels, int64_t begin, int64_t end, Tile<W>& tile) {
  Vector<W> sums[kTileRows][kTileVectors] = {};
  const W* a = panels.a + begin * kTileRows;
  const W* b = panels.b + begin * kTileColumns<W>;
  for (int64_t term = begin; term < end; ++term, a += kTileRows, b += kTileColumns<W>) {
    const auto* columns = reinterpret_cast<const typename Vectors<W>::InArray*>(b);
#pragma GCC unroll 12
    for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; ++v) sums[i][v] += a[i] * columns[v];
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) {
      tile.rows[i][v] = into == Into::kEmpty ? sums[i][v] : tile.rows[i][v] + sums[i][v];
    }
  }
}

// Where the blocks that this rank has begin, in its own terms.
struct Cuts {
  explicit Cuts(const BlockedSum& sum) : first(sum.nodes.front().begin) {
    const ShardGeometry blocks(sum.terms, kSumBlocks);
    for (int block = first; block <= sum.nodes.back().end; ++block) {
      at[block - first] = sum.each * (blocks.Offset(block) - blocks.Offset(first));
    }
  }
  int64_t Begin(int block) const { return at[block - first]; }

  int first;
  std::array<int64_t, kSumBlocks + 1> at;
};

template <Into into, typename W>
void SumNode(const Panels<W>& panels, const Cuts& cuts, BlockRange node, Tile<W>& tile) {
  if (node.end - node.begin == 1) {
    SumTerms<into>(panels, cuts.Begin(node.begin), cuts.Begin(node.end), tile);
    return;
  }
  if constexpr (into == Into::kEmpty) {
    SumNode<Into::kEmpty>(panels, cuts, {node.begin, node.Middle()}, tile);
    SumNode<Into::kFull>(panels, cuts, {node.Middle(), node.end}, tile);
  } else {
    Tile<W> sums;
    SumNode<Into::kEmpty>(panels, cuts, node, sums);
    tile.Add(sums);
  }
}

Matrix Transposed(const Matrix& m) {
  return {m.data, m.columns, m.rows, m.column_stride, m.row_stride};
}

// Packs rows [first, first + width) of m, widened and padded with rows of zeros: for each column
// the `width` elements, side by side.
template <typename T, typename W>
void Pack(const Matrix& m, int64_t first, int width, W* panel) {
  const int64_t rows = std::min<int64_t>(width, m.rows - first);
  const T* from = static_cast<const T*>(m.data) + first * m.row_stride;
  if (rows < width) std::fill_n(panel, width * m.columns, W{0});
  if (m.row_stride == 1) {
    for (int64_t j = 0; j < m.columns; ++j) {
      for (int64_t i = 0; i < rows; ++i) {
        panel[j * width + i] = Element<T>::Widen(from[i + j * m.column_stride]);
      }
    }
    return;
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < m.columns; ++j) {
      panel[j * width + i] = Element<T>::Widen(from[i * m.row_stride + j * m.column_stride]);
    }
  }
}

// The part of `tile` that lies inside c, whose element (row, column) is the tile's first.
template <typename C, typename W>
void Store(const Tile<W>& tile, const Matrix& c, int64_t row, int64_t column) {
  const int64_t rows = std::min<int64_t>(kTileRows, c.rows - row);
  const int64_t columns = std::min<int64_t>(kTileColumns<W>, c.columns - column);
  for (int64_t i = 0; i < rows; ++i) {
    W sums[kTileColumns<W>];
    std::memcpy(sums, tile.rows[i], sizeof(sums));
    C* to = static_cast<C*>(c.data) + (row + i) * c.row_stride + column * c.column_stride;
    for (int64_t j = 0; j < columns; ++j) {
      C& element = to[j * c.column_stride];
      if constexpr (std::is_same_v<C, W>) {
        element = sums[j];
      } else {
        element = Element<C>::Narrow(sums[j]);
      }
    }
  }
}

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

template <typename T, typename C>
void Multiply(const Matrix& a, const Matrix& b, const BlockedSum& sum, std::span<const Matrix> c,
              std::byte* scratch) {
  using W = typename Element<T>::Wide;
  const Cuts cuts(sum);
  CHECK_EQ(cuts.Begin(sum.nodes.back().end), a.columns);
  const Matrix columns_of_b = Transposed(b);
  W* const all_a = reinterpret_cast<W*>(scratch);
  W* const panel_b = all_a + RoundUp(RoundUp(a.rows, kTileRows) * a.columns, kTileColumns<W>);
  for (int64_t i = 0; i < a.rows; i += kTileRows) {
    Pack<T>(a, i, kTileRows, all_a + i * a.columns);
  }
  Tile<W> tile;
  for (int64_t j = 0; j < b.columns; j += kTileColumns<W>) {
    Pack<T>(columns_of_b, j, kTileColumns<W>, panel_b);
    for (int64_t i = 0; i < a.rows; i += kTileRows) {
      for (size_t node = 0; node < c.size(); ++node) {
        SumNode<Into::kEmpty, W>({all_a + i * a.columns, panel_b}, cuts, sum.nodes[node], tile);
        Store<C>(tile, c[node], i, j);
      }
    }
  }
}

// Calls visit(T{}, C{}) with the storage types of dtype and c_dtype.
template <typename Visitor>
void VisitTypes(DType dtype, DType c_dtype, Visitor&& visit) {
  VisitElement(dtype, [&]<typename T>(T element) {
    if (c_dtype == dtype) {
      visit(element, element);
    } else {
      CHECK(c_dtype == AccumulatorOf(dtype)) << Name(c_dtype);
      visit(element, typename Element<T>::Wide{});
    }
  });
}

// One tile of columns of a tree over rows: `row` runs through the nodes as the tree meets them.
constexpr int64_t kSumColumns = 256;

template <typename W>
void SumTree(const Matrix& nodes, std::span<const BlockRange> known, BlockRange node, int64_t begin,
             int64_t width, size_t& row, W* sums) {
  if (known[row] == node) {
    const W* from = static_cast<const W*>(nodes.data) +
                    static_cast<int64_t>(row) * nodes.row_stride + begin * nodes.column_stride;
    for (int64_t j = 0; j < width; ++j) sums[j] = from[j * nodes.column_stride];
    ++row;
    return;
  }
  W second[kSumColumns];
  SumTree(nodes, known, {node.begin, node.Middle()}, begin, width, row, sums);
  SumTree(nodes, known, {node.Middle(), node.end}, begin, width, row, second);
  for (int64_t j = 0; j < width; ++j) sums[j] += second[j];
}

}  // namespace

int64_t BlockedGemmScratchBytes(DType dtype, int64_t m, int64_t n, int64_t k) {
  const int64_t width = SizeOf(AccumulatorOf(dtype));
  const int64_t tile = kTileVectors * kVectorBytes / width;
  // Either operand may be taken for a: see BlockedGemm.
  const int64_t panels = RoundUp(std::max(m, n), kTileRows) * k + tile * (k + 1);
  return panels * width;
}

void BlockedGemm(DType dtype, const Matrix& a, const Matrix& b, const BlockedSum& sum,
                 DType c_dtype, std::span<const Matrix> c, std::byte* scratch) {
  CHECK(c.size() == sum.nodes.size() && a.columns == b.rows);
  // Vectors run along b's columns, so these are made the near direction of c. A product of two
  // numbers is the same in either order.
  if (c[0].row_stride == 1 && c[0].column_stride != 1) {
    std::array<Matrix, kSumBlocks> transposed;
    std::transform(c.begin(), c.end(), transposed.begin(), Transposed);
    return VisitTypes(dtype, c_dtype, [&]<typename T, typename C>(T, C) {
      Multiply<T, C>(Transposed(b), Transposed(a), sum, std::span(transposed).first(c.size()),
                     scratch);
    });
  }
  VisitTypes(dtype, c_dtype,
             [&]<typename T, typename C>(T, C) { Multiply<T, C>(a, b, sum, c, scratch); });
}

void BlockedSumRows(DType dtype, const Matrix& g, const BlockedSum& sum, DType out_dtype,
                    std::span<const Matrix> out, std::byte* scratch) {
  VisitTypes(dtype, out_dtype, [&]<typename T, typename C>(T, C) {
    T one = Element<T>::Narrow(1);
    Multiply<T, C>({&one, 1, g.rows, 0, 0}, g, sum, out, scratch);
  });
}

void SumBlocks(DType dtype, const Matrix& nodes, const BlockedSum& sum, const Matrix& out) {
  CHECK(nodes.rows == static_cast<int64_t>(sum.nodes.size()) && nodes.columns == out.columns);
  VisitElement(dtype, [&]<typename T>(T) {
    using W = typename Element<T>::Wide;
    W sums[kSumColumns];
    for (int64_t begin = 0; begin < nodes.columns; begin += kSumColumns) {
      const int64_t width = std::min(kSumColumns, nodes.columns - begin);
      size_t row = 0;
      SumTree<W>(nodes, sum.nodes, BlockRange(), begin, width, row, sums);
      T* to = static_cast<T*>(out.data) + begin * out.column_stride;
      for (int64_t j = 0; j < width; ++j) to[j * out.column_stride] = Element<T>::Narrow(sums[j]);
    }
  });
}

}  // namespace tp::cpu
