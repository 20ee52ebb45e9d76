// DeviceMatrix: a strided matrix in device memory; what a View of two dimensions at most becomes
// once its buffer has an address, and one of more where its dimensions merge into two.
#pragma once

#include <cstdint>

#include "tp/core/dtype.h"

namespace tp::nccl {

// Element (i, j) is at data + i * row_stride + j * column_stride elements.
struct DeviceMatrix {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row_stride = 0;
  int64_t column_stride = 1;

  int64_t size() const { return rows * columns; }
  bool empty() const { return size() == 0; }
  DeviceMatrix Transposed() const {
    return {data, dtype, columns, rows, column_stride, row_stride};
  }
};

// So many matrices of one shape: the elements from one to the next, in each operand of a product.
struct Batch {
  int64_t count = 1;
  int64_t a = 0, b = 0, c = 0, added = 0;
};

}  // namespace tp::nccl
