// DeviceView: a view in this GPU's memory.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/nccl/kernels/matrix.h"
#include "tp/core/dtype.h"
#include "tp/schedule/view.h"

namespace tp::nccl {

// `data` is the address of its first element; sizes and strides count elements.
struct DeviceView {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  Dims dims = {};

  int64_t size() const {
    int64_t count = 1;
    for (const Dim& dim : dims) count *= dim.size;
    return count;
  }
  bool empty() const { return size() == 0; }
  // Its last dimension; a scalar has one of one element.
  Dim Last() const { return dims.size() == 0 ? Dim{} : dims[dims.size() - 1]; }
  // All dimensions but the last.
  DeviceView Rows() const {
    DeviceView rows{data, dtype};
    for (int d = 0; d + 1 < dims.size(); ++d) rows.dims.push_back(dims[d]);
    return rows;
  }
  // Of two dimensions at most: a vector is one row, a scalar 1 x 1.
  DeviceMatrix matrix() const {
    const View view{0, 0, dims};
    return {data, dtype, view.rows(), view.columns(), view.row_stride(), view.column_stride()};
  }
};

}  // namespace tp::nccl
