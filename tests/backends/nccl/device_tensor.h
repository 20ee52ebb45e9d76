// DeviceTensor: a matrix on the GPU in some layout, with a copy of its values on the host, and a
// margin around and between them that nobody may write.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "backends/nccl/kernels/matrix.h"
#include "tp/core/dtype.h"

namespace tp::nccl {

// The ways a View lies in memory: along rows or columns, packed, as part of something larger, or
// beginning where 16-byte accesses do not; and with no stride of 1.
enum class Layout { kAcross, kDown, kAcrossPadded, kDownPadded, kAcrossShifted, kScattered };
inline constexpr Layout kProductLayouts[] = {Layout::kAcross, Layout::kDown, Layout::kAcrossPadded,
                                             Layout::kDownPadded, Layout::kAcrossShifted};
inline constexpr Layout kAllLayouts[] = {Layout::kAcross,        Layout::kDown,
                                         Layout::kAcrossPadded,  Layout::kDownPadded,
                                         Layout::kAcrossShifted, Layout::kScattered};

class DeviceTensor {
 public:
  DeviceTensor(DType dtype, int64_t rows, int64_t columns, Layout layout) {
    matrix_.dtype = dtype;
    matrix_.rows = rows;
    matrix_.columns = columns;
    const bool down = layout == Layout::kDown || layout == Layout::kDownPadded;
    const bool padded = layout == Layout::kAcrossPadded || layout == Layout::kDownPadded;
    const int64_t inner = layout == Layout::kScattered ? 3 : 1;
    const int64_t outer = ((down ? rows : columns) + (padded ? 8 : 0)) * inner;
    matrix_.row_stride = down ? inner : outer;
    matrix_.column_stride = down ? outer : inner;
    offset_ = layout == Layout::kAcrossShifted ? kMargin + 1 : kMargin;
    image_.assign(offset_ + (down ? columns : rows) * outer + kMargin, kUntouched);
    EXPECT_EQ(cudaMalloc(&base_, image_.size() * SizeOf(dtype)), cudaSuccess);
    matrix_.data = static_cast<char*>(base_) + offset_ * SizeOf(dtype);
  }
  ~DeviceTensor() { cudaFree(base_); }
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  const DeviceMatrix& matrix() const { return matrix_; }
  double At(int64_t i, int64_t j) const { return image_[Index(i, j)]; }

  // Integers in [-most, most]: sums of their products are exact in any order.
  DeviceTensor& FillIntegers(int most, uint32_t seed) {
    std::mt19937 random(seed);
    std::uniform_int_distribution<int> draw(-most, most);
    for (int64_t i = 0; i < matrix_.rows; ++i) {
      for (int64_t j = 0; j < matrix_.columns; ++j) image_[Index(i, j)] = draw(random);
    }
    return Upload();
  }
  DeviceTensor& FillReals(uint32_t seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> draw(-1, 1);
    for (int64_t i = 0; i < matrix_.rows; ++i) {
      for (int64_t j = 0; j < matrix_.columns; ++j) {
        image_[Index(i, j)] = RoundTo(matrix_.dtype, draw(random));
      }
    }
    return Upload();
  }
  DeviceTensor& Fill(double value) {
    for (int64_t i = 0; i < matrix_.rows; ++i) {
      for (int64_t j = 0; j < matrix_.columns; ++j) {
        image_[Index(i, j)] = RoundTo(matrix_.dtype, value);
      }
    }
    return Upload();
  }
  // Nothing but margin, for an output. Streams that wait for no other may use it at once.
  DeviceTensor& Upload() {
    std::vector<std::byte> bytes(image_.size() * SizeOf(matrix_.dtype));
    EncodeFromDouble(matrix_.dtype, image_, bytes);
    EXPECT_EQ(cudaMemcpy(base_, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);  // a copy of pageable memory may still run
    return *this;
  }

  // What the GPU holds now.
  std::vector<double> Download() const {
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    std::vector<std::byte> bytes(image_.size() * SizeOf(matrix_.dtype));
    EXPECT_EQ(cudaMemcpy(bytes.data(), base_, bytes.size(), cudaMemcpyDeviceToHost), cudaSuccess);
    std::vector<double> values(image_.size());
    DecodeToDouble(matrix_.dtype, bytes, values);
    return values;
  }

  // The same without the margin, row by row.
  std::vector<double> DownloadRows() const {
    const std::vector<double> image = Download();
    std::vector<double> values;
    for (int64_t i = 0; i < matrix_.rows; ++i) {
      for (int64_t j = 0; j < matrix_.columns; ++j) values.push_back(image[Index(i, j)]);
    }
    return values;
  }

  // Expects that (i, j) holds f(i, j), rounded once, and that the margin is as it was.
  template <typename F>
  void ExpectExactly(const F& f, const std::string& what) const {
    Expect(f, what, [](double a, double b) { return a == b; });
  }
  // The same, and that zeros have f's sign.
  template <typename F>
  void ExpectBits(const F& f, const std::string& what) const {
    Expect(f, what, [](double a, double b) {
      return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
    });
  }

 private:
  static constexpr int64_t kMargin = 64;
  static constexpr double kUntouched = -77;  // exact in every type

  template <typename F, typename Same>
  void Expect(const F& f, const std::string& what, const Same& same) const {
    std::vector<double> expected(image_.size(), kUntouched);
    for (int64_t i = 0; i < matrix_.rows; ++i) {
      for (int64_t j = 0; j < matrix_.columns; ++j) {
        expected[Index(i, j)] = RoundTo(matrix_.dtype, f(i, j));
      }
    }
    const std::vector<double> actual = Download();
    int64_t wrong = 0, first = -1;
    for (size_t i = 0; i < expected.size(); ++i) {
      if (same(actual[i], expected[i])) continue;
      if (wrong++ == 0) first = static_cast<int64_t>(i);
    }
    if (wrong == 0) return;
    ADD_FAILURE() << what << ": " << wrong << " of " << expected.size()
                  << " elements are wrong, margins included; the first is at " << first - offset_
                  << ": " << actual[first] << ", not " << expected[first];
  }

  int64_t Index(int64_t i, int64_t j) const {
    return offset_ + i * matrix_.row_stride + j * matrix_.column_stride;
  }

  DeviceMatrix matrix_;
  void* base_ = nullptr;
  int64_t offset_ = 0;
  std::vector<double> image_;
};

}  // namespace tp::nccl
