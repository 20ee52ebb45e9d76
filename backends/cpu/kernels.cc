#include "backends/cpu/kernels.h"

#include <algorithm>
#include <cstdlib>

#include "backends/cpu/element.h"

namespace tp::cpu {
namespace {

Matrix Transposed(const Matrix& m) {
  return {m.data, m.columns, m.rows, m.column_stride, m.row_stride};
}

// Whether the rows are the near direction in memory, so that the loops should be swapped.
bool ColumnsOutermost(const Matrix& m) {
  return m.rows > 1 && (m.columns == 1 || std::abs(m.row_stride) < std::abs(m.column_stride));
}

template <typename T>
struct Row {
  T* data;
  int64_t stride;
  T& operator[](int64_t j) const { return data[j * stride]; }
};

template <typename T>
struct PackedRow {
  T* data;
  T& operator[](int64_t j) const { return data[j]; }
};

// Calls body(columns, row of each matrix) for every row of the like-shaped `first`, `rest`. Rows
// that are all contiguous get a type that says so, and the compiler vectorises them.
template <typename T, typename Body, typename... Rest>
void ForEachRowAsItLies(Body&& body, const Matrix& first, const Rest&... rest) {
  const bool packed = first.column_stride == 1 && ((rest.column_stride == 1) && ...);
  for (int64_t i = 0; i < first.rows; ++i) {
    const auto at = [i](const Matrix& m) { return static_cast<T*>(m.data) + i * m.row_stride; };
    if (packed) {
      body(first.columns, PackedRow<T>{at(first)}, PackedRow<T>{at(rest)}...);
    } else {
      body(first.columns, Row<T>{at(first), first.column_stride},
           Row<T>{at(rest), rest.column_stride}...);
    }
  }
}

// The same in the direction in which `first` is contiguous: rows may be columns.
template <typename T, typename Body, typename... Rest>
void ForEachRow(Body&& body, const Matrix& first, const Rest&... rest) {
  if (ColumnsOutermost(first)) {
    ForEachRowAsItLies<T>(body, Transposed(first), Transposed(rest)...);
  } else {
    ForEachRowAsItLies<T>(body, first, rest...);
  }
}

// A sum in 16 lanes, so that it vectorises without its order being left to the compiler.
class LaneSum {
 public:
  // Adds term(j) for j in [0, n).
  template <typename Term>
  void Add(int64_t n, Term&& term) {
    int64_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) lanes_[lane] += term(j + lane);
    }
    for (; j < n; ++j) lanes_[j % kLanes] += term(j);
  }

  double Total() const {
    double total = 0;
    for (double lane : lanes_) total += lane;
    return total;
  }

  static constexpr int64_t kLanes = 16;

 private:
  double lanes_[kLanes] = {};
};

constexpr int64_t kTileColumns = 64;

template <typename T>
Matrix TileOf(const Matrix& m, int64_t begin) {
  Matrix tile = m;
  tile.data = static_cast<T*>(m.data) + begin * m.column_stride;
  tile.columns = std::min(kTileColumns, m.columns - begin);
  return tile;
}

// total + the sum over the columns of a tile of their sums of term(y, t), which are LaneSums. Lanes
// count rows, so the order is the matrix' own, whichever way it lies in memory.
template <typename T, typename Term>
double AddColumns(double total, bool by_column, const Matrix& y, const Matrix& t, Term&& term) {
  if (by_column) {
    ForEachRowAsItLies<T>(
        [&](int64_t n, auto y_column, auto t_column) {
          LaneSum sum;
          sum.Add(n, [&](int64_t i) { return term(y_column[i], t_column[i]); });
          total += sum.Total();
        },
        Transposed(y), Transposed(t));
    return total;
  }
  double lanes[LaneSum::kLanes][kTileColumns] = {};
  int64_t row = 0;
  ForEachRowAsItLies<T>(
      [&](int64_t n, auto y_row, auto t_row) {
        double* const lane = lanes[row++ % LaneSum::kLanes];
        for (int64_t j = 0; j < n; ++j) lane[j] += term(y_row[j], t_row[j]);
      },
      y, t);
  for (int64_t j = 0; j < y.columns; ++j) {
    double sum = 0;
    for (const auto& lane : lanes) sum += lane[j];
    total += sum;
  }
  return total;
}

template <typename T>
void SumColumnwise(const Matrix& g, T* out, int64_t stride) {  // each column is contiguous
  for (int64_t j = 0; j < g.columns; ++j) {
    const T* column = static_cast<const T*>(g.data) + j * g.column_stride;
    LaneSum sum;
    sum.Add(g.rows, [&](int64_t i) {
      return static_cast<double>(Element<T>::Widen(column[i * g.row_stride]));
    });
    out[j * stride] = Element<T>::Narrow(static_cast<typename Element<T>::Wide>(sum.Total()));
  }
}

template <typename T>
void SumRowwise(const Matrix& g, T* out, int64_t stride) {  // each row is contiguous
  constexpr int64_t kTile = 256;
  for (int64_t begin = 0; begin < g.columns; begin += kTile) {
    const int64_t width = std::min(kTile, g.columns - begin);
    double sums[kTile] = {};
    for (int64_t i = 0; i < g.rows; ++i) {
      const T* row = static_cast<const T*>(g.data) + i * g.row_stride + begin * g.column_stride;
      for (int64_t j = 0; j < width; ++j) sums[j] += Element<T>::Widen(row[j * g.column_stride]);
    }
    for (int64_t j = 0; j < width; ++j) {
      out[(begin + j) * stride] =
          Element<T>::Narrow(static_cast<typename Element<T>::Wide>(sums[j]));
    }
  }
}

}  // namespace

void AddBias(DType dtype, const Matrix& y, const Matrix& b, const Matrix& out) {
  VisitElement(dtype, [&]<typename T>(T) {
    Matrix every_row = b;  // the one row of b, under each row of y
    every_row.rows = y.rows;
    every_row.row_stride = 0;
    ForEachRow<T>(
        [](int64_t n, auto y_row, auto b_row, auto out_row) {
          for (int64_t j = 0; j < n; ++j) {
            out_row[j] =
                Element<T>::Narrow(Element<T>::Widen(y_row[j]) + Element<T>::Widen(b_row[j]));
          }
        },
        y, every_row, out);
  });
}

void MseLossGrad(DType dtype, double scale, const Matrix& y, const Matrix& t, void* loss,
                 const Matrix* dy) {
  VisitElement(dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    // The difference of two elements, times the scale, is rounded once: it is taken in double.
    const auto difference = [](T a, T b) {
      return static_cast<double>(Element<T>::Widen(a)) - static_cast<double>(Element<T>::Widen(b));
    };
    const auto square = [&](T a, T b) { return difference(a, b) * difference(a, b); };
    double total = 0;
    // Both results of a tile while it is near.
    for (int64_t begin = 0; begin < y.columns; begin += kTileColumns) {
      const Matrix y_tile = TileOf<T>(y, begin);
      const Matrix t_tile = TileOf<T>(t, begin);
      if (dy != nullptr) {
        ForEachRow<T>(
            [&](int64_t n, auto y_row, auto t_row, auto dy_row) {
              for (int64_t j = 0; j < n; ++j) {
                dy_row[j] = Element<T>::Narrow(
                    static_cast<Wide>(2 * scale * difference(y_row[j], t_row[j])));
              }
            },
            y_tile, t_tile, TileOf<T>(*dy, begin));
      }
      if (loss != nullptr) {
        total = AddColumns<T>(total, ColumnsOutermost(y), y_tile, t_tile, square);
      }
    }
    if (loss != nullptr) *static_cast<Wide*>(loss) = static_cast<Wide>(scale * total);
  });
}

void SumRows(DType dtype, const Matrix& g, const Matrix& out) {
  VisitElement(dtype, [&]<typename T>(T) {
    T* sums = static_cast<T*>(out.data);
    if (ColumnsOutermost(g)) {
      SumColumnwise(g, sums, out.column_stride);
    } else {
      SumRowwise(g, sums, out.column_stride);
    }
  });
}

void Sgd(DType dtype, double rate, const Matrix& w, const Matrix& gradient) {
  VisitElement(dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const auto wide_rate = static_cast<Wide>(rate);
    ForEachRow<T>(
        [&](int64_t n, auto w_row, auto g_row) {
          for (int64_t j = 0; j < n; ++j) {
            w_row[j] = Element<T>::Narrow(Element<T>::Widen(w_row[j]) -
                                          wide_rate * Element<T>::Widen(g_row[j]));
          }
        },
        w, gradient);
  });
}

void Copy(DType dtype, const Matrix& in, const Matrix& out) {
  VisitElement(dtype, [&]<typename T>(T) {
    ForEachRow<T>(
        [](int64_t n, auto in_row, auto out_row) {
          for (int64_t j = 0; j < n; ++j) out_row[j] = in_row[j];
        },
        in, out);
  });
}

}  // namespace tp::cpu
