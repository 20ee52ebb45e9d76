// A matrix for the tests of CPU kernels: any type, any layout, with memory around it that must stay
// as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "backends/cpu/kernels.h"
#include "tp/core/dtype.h"

namespace tp::cpu {

enum class Layout {
  kRows,            // packed, row by row
  kColumns,         // packed, column by column: a transposed view
  kRowsInWhole,     // a rectangle of a larger matrix
  kColumnsInWhole,  // and its transpose
  kScattered,       // contiguous in neither direction
};
inline constexpr Layout kAllLayouts[] = {Layout::kRows, Layout::kColumns, Layout::kRowsInWhole,
                                         Layout::kColumnsInWhole, Layout::kScattered};
// Those in which a matrix product takes its operands.
inline constexpr Layout kGemmLayouts[] = {Layout::kRows, Layout::kColumns, Layout::kRowsInWhole,
                                          Layout::kColumnsInWhole};
std::string Name(Layout layout);

class TestMatrix {
 public:
  // Every element, and all around, is a NaN.
  TestMatrix(DType dtype, int64_t rows, int64_t columns, Layout layout);

  int64_t rows() const { return view_.rows; }
  int64_t columns() const { return view_.columns; }
  // Into this object's memory.
  Matrix view();

  double At(int64_t i, int64_t j) const;
  void Set(int64_t i, int64_t j, double value);
  // All elements, row-major.
  std::vector<double> Values() const;

  // Random numbers: multiples of 2^-20 in [-1, 1), rounded to the type; or integers in [-4, 4].
  void FillUniform(uint64_t seed);
  void FillIntegers(uint64_t seed);

  // Whether nothing but elements was written since the matrix was made.
  bool SurroundingsIntact() const;

 private:
  int64_t Place(int64_t i, int64_t j) const {
    return offset_ + i * view_.row_stride + j * view_.column_stride;
  }

  DType dtype_;
  int64_t offset_ = 0;
  Matrix view_;  // without the address
  std::vector<std::byte> memory_;
};

}  // namespace tp::cpu
