#include "tests/backends/cpu/test_matrix.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "tp/core/random.h"

namespace tp::cpu {
namespace {

constexpr std::byte kSpoilt{0xff};  // a NaN in every type

}  // namespace

std::string Name(Layout layout) {
  switch (layout) {
    case Layout::kRows:
      return "rows";
    case Layout::kColumns:
      return "columns";
    case Layout::kRowsInWhole:
      return "rows in a whole";
    case Layout::kColumnsInWhole:
      return "columns in a whole";
    case Layout::kScattered:
      return "scattered";
  }
  return "";
}

TestMatrix::TestMatrix(DType dtype, int64_t rows, int64_t columns, Layout layout)
    : dtype_(dtype), view_{nullptr, rows, columns, columns, 1} {
  const bool in_whole = layout == Layout::kRowsInWhole || layout == Layout::kColumnsInWhole;
  const int64_t gap = in_whole ? 3 : 0;
  view_.row_stride += gap;
  offset_ = 2 * gap + 1;
  if (layout == Layout::kColumns || layout == Layout::kColumnsInWhole) {
    view_.row_stride = 1;
    view_.column_stride = rows + gap;
  } else if (layout == Layout::kScattered) {
    view_.column_stride = 2;
    view_.row_stride = 2 * columns + 5;
  }
  const int64_t end = rows == 0 || columns == 0 ? offset_ : Place(rows - 1, columns - 1) + 1;
  memory_.assign((end + 5) * SizeOf(dtype), kSpoilt);
}

Matrix TestMatrix::view() {
  Matrix view = view_;
  view.data = memory_.data() + offset_ * SizeOf(dtype_);
  return view;
}

double TestMatrix::At(int64_t i, int64_t j) const {
  double value;
  const auto bytes = std::span(memory_).subspan(Place(i, j) * SizeOf(dtype_), SizeOf(dtype_));
  DecodeToDouble(dtype_, bytes, std::span(&value, 1));
  return value;
}

void TestMatrix::Set(int64_t i, int64_t j, double value) {
  const auto bytes = std::span(memory_).subspan(Place(i, j) * SizeOf(dtype_), SizeOf(dtype_));
  EncodeFromDouble(dtype_, std::span(&value, 1), bytes);
}

std::vector<double> TestMatrix::Values() const {
  std::vector<double> values;
  for (int64_t i = 0; i < rows(); ++i) {
    for (int64_t j = 0; j < columns(); ++j) values.push_back(At(i, j));
  }
  return values;
}

void TestMatrix::FillUniform(uint64_t seed) {
  const RandomTensor random(seed, 1);
  for (int64_t i = 0; i < rows(); ++i) {
    for (int64_t j = 0; j < columns(); ++j) {
      Set(i, j, std::floor(random.Uniform(i * columns() + j) * 0x1p20) * 0x1p-20);
    }
  }
}

void TestMatrix::FillIntegers(uint64_t seed) {
  const RandomTensor random(seed, 2);
  for (int64_t i = 0; i < rows(); ++i) {
    for (int64_t j = 0; j < columns(); ++j) {
      Set(i, j, static_cast<double>(random.Bits(i * columns() + j) % 9) - 4);
    }
  }
}

bool TestMatrix::SurroundingsIntact() const {
  std::vector<std::byte> rest = memory_;
  for (int64_t i = 0; i < rows(); ++i) {
    for (int64_t j = 0; j < columns(); ++j) {
      const auto element = rest.begin() + Place(i, j) * SizeOf(dtype_);
      std::fill(element, element + SizeOf(dtype_), kSpoilt);
    }
  }
  return std::all_of(rest.begin(), rest.end(), [](std::byte b) { return b == kSpoilt; });
}

}  // namespace tp::cpu
