#include "backends/cpu/element.h"
#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/rows.h"

namespace tp::cpu {
namespace {

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

double ScaleOf(const KernelCall& call) { return call.op.attributes.Number("scale"); }

}  // namespace

void MseLossGrad(DType dtype, double scale, const Tensor& y, const Tensor& t, void* loss,
                 const Tensor* dy) {
  VisitElement(dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    // The difference of two elements, times the scale, is rounded once: it is taken in double.
    const auto difference = [](T a, T b) {
      return static_cast<double>(Element<T>::Widen(a)) - static_cast<double>(Element<T>::Widen(b));
    };
    const auto square = [&](T a, T b) { return difference(a, b) * difference(a, b); };
    double total = 0;
    const auto on_matrices = [&](const Matrix& y_matrix, const Matrix& t_matrix,
                                 const Matrix& dy_matrix) {
      // Both results of a tile while it is near.
      for (int64_t begin = 0; begin < y_matrix.columns; begin += kTileColumns) {
        const Matrix y_tile = TileOf<T>(y_matrix, begin);
        const Matrix t_tile = TileOf<T>(t_matrix, begin);
        if (dy != nullptr) {
          ForEachRow<T>(
              [&](int64_t n, auto y_row, auto t_row, auto dy_row) {
                for (int64_t j = 0; j < n; ++j) {
                  dy_row[j] = Element<T>::Narrow(
                      static_cast<Wide>(2 * scale * difference(y_row[j], t_row[j])));
                }
              },
              y_tile, t_tile, TileOf<T>(dy_matrix, begin));
        }
        if (loss != nullptr) {
          total = AddColumns<T>(total, ColumnsOutermost(y_matrix), y_tile, t_tile, square);
        }
      }
    };
    ForEachMatrix<T>(on_matrices, y, t, dy != nullptr ? *dy : y);
    if (loss != nullptr) *static_cast<Wide*>(loss) = static_cast<Wide>(scale * total);
  });
}

const Kernel kMseLossKernel = {Action{"mse_loss"}, [](const KernelCall& c) {
                                 MseLossGrad(c.dtype, ScaleOf(c), c.in[0], c.in[1], c.out[0].data,
                                             nullptr);
                               }};
const Kernel kMseGradKernel = {Action{"mse_grad"}, [](const KernelCall& c) {
                                 MseLossGrad(c.dtype, ScaleOf(c), c.in[0], c.in[1], nullptr,
                                             &c.out[0]);
                               }};
const Kernel kMseLossGradKernel = {Action{"mse_loss_grad"}, [](const KernelCall& c) {
                                     MseLossGrad(c.dtype, ScaleOf(c), c.in[0], c.in[1],
                                                 c.out[0].data, &c.out[1]);
                                   }};

}  // namespace tp::cpu
