// Each kernel against plain loops, on integers, where every order of summation is exact: on odd
// shapes, in every layout and type. The margins around operands must stay as they were. What has
// an order that is promised, against the CPU backend's kernels.
#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/kernels.h"
#include "backends/nccl/kernels/kernels.h"
#include "tests/backends/nccl/device_tensor.h"

namespace tp::nccl {
namespace {

// With 16-byte accesses and without, larger than a block and smaller, long both ways, and empty.
constexpr std::pair<int64_t, int64_t> kShapes[] = {{1, 1},  {3, 5},     {20, 1000}, {1000, 20},
                                                   {1, 77}, {4097, 33}, {128, 512}, {0, 5},
                                                   {5, 0},  {9000, 16}};

std::string What(DType dtype, std::pair<int64_t, int64_t> shape, Layout a, Layout b) {
  return std::string(Name(dtype)) + " " + std::to_string(shape.first) + "x" +
         std::to_string(shape.second) + " layouts " + std::to_string(static_cast<int>(a)) + " " +
         std::to_string(static_cast<int>(b));
}

// Calls f for every type, shape, and pair of layouts of inputs and output.
template <typename F>
void ForEachCase(const F& f) {
  for (DType dtype : kAllDTypes) {
    for (const auto& shape : kShapes) {
      for (Layout in : kAllLayouts) {
        for (Layout out : {in, Layout::kAcross, Layout::kDown}) {
          SCOPED_TRACE(What(dtype, shape, in, out));
          f(dtype, shape.first, shape.second, in, out);
        }
      }
    }
  }
}

class ScratchMemory {
 public:
  explicit ScratchMemory(const ScratchSize& size) : size_(size) {
    EXPECT_EQ(cudaMalloc(&scratch_.partials, size.partial_bytes + 1), cudaSuccess);
    void* counters = nullptr;
    EXPECT_EQ(cudaMalloc(&counters, (size.counters + 1) * sizeof(unsigned)), cudaSuccess);
    EXPECT_EQ(cudaMemset(counters, 0, (size.counters + 1) * sizeof(unsigned)), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    scratch_.counters = static_cast<unsigned*>(counters);
  }
  ~ScratchMemory() {
    // What shares it next counts on zeros.
    std::vector<unsigned> counters(size_.counters);
    EXPECT_EQ(cudaMemcpy(counters.data(), scratch_.counters, counters.size() * sizeof(unsigned),
                         cudaMemcpyDeviceToHost),
              cudaSuccess);
    for (unsigned counter : counters) EXPECT_EQ(counter, 0u);
    cudaFree(scratch_.partials);
    cudaFree(scratch_.counters);
  }
  const Scratch& get() const { return scratch_; }

 private:
  const ScratchSize size_;
  Scratch scratch_;
};

TEST(GpuKernels, Add) {
  ForEachCase([](DType dtype, int64_t rows, int64_t columns, Layout in, Layout layout) {
    DeviceTensor a(dtype, rows, columns, in), b(dtype, rows, columns, layout);
    DeviceTensor out(dtype, rows, columns, layout);
    a.FillIntegers(50, 1);
    b.FillIntegers(50, 2);
    out.Upload();
    ASSERT_EQ(Add(a.matrix(), b.matrix(), out.matrix(), nullptr), cudaSuccess);
    out.ExpectExactly([&](int64_t i, int64_t j) { return a.At(i, j) + b.At(i, j); }, "out");
  });
}

TEST(GpuKernels, AddBias) {
  ForEachCase([](DType dtype, int64_t rows, int64_t columns, Layout in, Layout layout) {
    DeviceTensor y(dtype, rows, columns, in), b(dtype, 1, columns, Layout::kAcross);
    DeviceTensor out(dtype, rows, columns, layout);
    y.FillIntegers(50, 1);
    b.FillIntegers(50, 2);
    out.Upload();
    ASSERT_EQ(AddBias(y.matrix(), b.matrix(), out.matrix(), nullptr), cudaSuccess);
    out.ExpectExactly([&](int64_t i, int64_t j) { return y.At(i, j) + b.At(0, j); }, "out");
    ASSERT_EQ(AddBias(y.matrix(), b.matrix(), y.matrix(), nullptr), cudaSuccess);
    y.ExpectExactly([&](int64_t i, int64_t j) { return y.At(i, j) + b.At(0, j); }, "in place");
  });
}

TEST(GpuKernels, BroadcastAndZero) {
  ForEachCase([](DType dtype, int64_t rows, int64_t columns, Layout, Layout layout) {
    DeviceTensor b(dtype, 1, columns, Layout::kAcross), out(dtype, rows, columns, layout);
    b.FillIntegers(50, 2);
    out.Upload();
    ASSERT_EQ(BroadcastBias(b.matrix(), out.matrix(), nullptr), cudaSuccess);
    out.ExpectExactly([&](int64_t, int64_t j) { return b.At(0, j); }, "bias");
    ASSERT_EQ(Zero(out.matrix(), nullptr), cudaSuccess);
    out.ExpectExactly([](int64_t, int64_t) { return 0; }, "zero");
  });
}

TEST(GpuKernels, Copy) {
  ForEachCase([](DType dtype, int64_t rows, int64_t columns, Layout in, Layout layout) {
    DeviceTensor x(dtype, rows, columns, in), out(dtype, rows, columns, layout);
    x.FillReals(3);
    out.Upload();
    ASSERT_EQ(Copy(x.matrix(), out.matrix(), nullptr), cudaSuccess);
    out.ExpectExactly([&](int64_t i, int64_t j) { return x.At(i, j); }, "copy");
  });
}

TEST(GpuKernels, MseGrad) {
  ForEachCase([](DType dtype, int64_t rows, int64_t columns, Layout in, Layout layout) {
    DeviceTensor y(dtype, rows, columns, in), t(dtype, rows, columns, in);
    DeviceTensor dy(dtype, rows, columns, layout);
    y.FillIntegers(50, 4);
    t.FillIntegers(50, 5);
    dy.Upload();
    ASSERT_EQ(MseGrad(y.matrix(), t.matrix(), 0.125, dy.matrix(), nullptr), cudaSuccess);
    dy.ExpectExactly([&](int64_t i, int64_t j) { return 0.25 * (y.At(i, j) - t.At(i, j)); }, "dy");
  });
}

TEST(GpuKernels, Sgd) {
  ForEachCase([](DType dtype, int64_t rows, int64_t columns, Layout in, Layout layout) {
    DeviceTensor w(dtype, rows, columns, layout), g(dtype, rows, columns, in);
    w.FillIntegers(50, 6);
    g.FillIntegers(50, 7);
    ASSERT_EQ(Sgd(w.matrix(), g.matrix(), 0.5, nullptr), cudaSuccess);
    w.ExpectExactly([&](int64_t i, int64_t j) { return w.At(i, j) - 0.5 * g.At(i, j); }, "w");
  });
}

TEST(GpuKernels, MseLoss) {
  ForEachCase([](DType dtype, int64_t rows, int64_t columns, Layout in, Layout layout) {
    DeviceTensor y(dtype, rows, columns, in), t(dtype, rows, columns, layout);
    DeviceTensor dy(dtype, rows, columns, layout);
    DeviceTensor loss(AccumulatorOf(dtype), 1, 1, Layout::kAcross);
    y.FillIntegers(3, 8);
    t.FillIntegers(3, 9);
    double sum = 0;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        sum += (y.At(i, j) - t.At(i, j)) * (y.At(i, j) - t.At(i, j));
      }
    }
    for (SumOrder order : {SumOrder::kFast, SumOrder::kInvariant}) {
      ScratchMemory scratch(MseLossScratch(y.matrix(), order));
      for (bool grad : {false, true}) {
        loss.Upload();
        dy.Upload();
        ASSERT_EQ(MseLoss(y.matrix(), t.matrix(), 0.25, loss.matrix(),
                          grad ? &dy.matrix() : nullptr, order, scratch.get(), nullptr),
                  cudaSuccess);
        loss.ExpectExactly([&](int64_t, int64_t) { return 0.25 * sum; }, "loss");
        if (!grad) continue;
        dy.ExpectExactly([&](int64_t i, int64_t j) { return 0.5 * (y.At(i, j) - t.At(i, j)); },
                         "dy");
      }
    }
  });
}

TEST(GpuKernels, SumRows) {
  ForEachCase([](DType dtype, int64_t rows, int64_t columns, Layout in, Layout layout) {
    if (layout != in) return;
    DeviceTensor g(dtype, rows, columns, in), out(dtype, 1, columns, Layout::kAcross);
    ScratchMemory scratch(SumRowsScratch(g.matrix()));
    g.FillIntegers(3, 10);
    for (int again = 0; again < 2; ++again) {
      out.Upload();
      ASSERT_EQ(SumRows(g.matrix(), out.matrix(), scratch.get(), nullptr), cudaSuccess);
      out.ExpectExactly(
          [&](int64_t, int64_t j) {
            double sum = 0;
            for (int64_t i = 0; i < rows; ++i) sum += g.At(i, j);
            return sum;
          },
          "sum");
    }
  });
}

// Blocks of a sum over ranks: rows as long as a shard, which may lie apart.
TEST(GpuKernels, SumAFewLongRows) {
  for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (int64_t rows : {2, 3, 8}) {
      for (Layout layout : {Layout::kAcross, Layout::kAcrossPadded}) {
        for (int64_t columns : {600000, 600001}) {
          DeviceTensor g(dtype, rows, columns, layout), out(dtype, 1, columns, Layout::kAcross);
          ScratchMemory scratch(SumRowsScratch(g.matrix()));
          g.FillIntegers(3, 10);
          out.Upload();
          ASSERT_EQ(SumRows(g.matrix(), out.matrix(), scratch.get(), nullptr), cudaSuccess);
          out.ExpectExactly(
              [&](int64_t, int64_t j) {
                double sum = 0;
                for (int64_t i = 0; i < rows; ++i) sum += g.At(i, j);
                return sum;
              },
              std::to_string(rows) + " rows of " + std::to_string(columns));
        }
      }
    }
  }
}

// A packed matrix on the host with the values of a DeviceTensor, for the CPU backend's kernels.
class HostMatrix {
 public:
  explicit HostMatrix(const DeviceTensor& tensor) : dtype_(tensor.matrix().dtype) {
    const auto& m = tensor.matrix();
    std::vector<double> values;
    for (int64_t i = 0; i < m.rows; ++i) {
      for (int64_t j = 0; j < m.columns; ++j) values.push_back(tensor.At(i, j));
    }
    bytes_.resize(values.size() * SizeOf(dtype_));
    EncodeFromDouble(dtype_, values, bytes_);
    matrix_ = {bytes_.data(), m.rows, m.columns, m.columns, 1};
  }
  HostMatrix(const HostMatrix&) = delete;
  HostMatrix& operator=(const HostMatrix&) = delete;

  const cpu::Matrix& matrix() const { return matrix_; }
  double operator()(int64_t i, int64_t j) const {
    double value = 0;
    DecodeToDouble(
        dtype_,
        std::span(bytes_).subspan((i * matrix_.columns + j) * SizeOf(dtype_), SizeOf(dtype_)),
        std::span(&value, 1));
    return value;
  }

 private:
  const DType dtype_;
  std::vector<std::byte> bytes_;
  cpu::Matrix matrix_;
};

// On numbers that round: what goes element by element, and the loss in the invariant order.
TEST(GpuKernels, GiveTheBitsOfTheCpu) {
  constexpr double kScale = 1.0 / 3;
  for (DType dtype : kAllDTypes) {
    for (const auto& [rows, columns] : {std::pair(333, 77), std::pair(5, 700), std::pair(1, 1)}) {
      for (Layout layout : kAllLayouts) {
        SCOPED_TRACE(What(dtype, {rows, columns}, layout, layout));
        DeviceTensor y(dtype, rows, columns, layout), t(dtype, rows, columns, layout);
        DeviceTensor b(dtype, 1, columns, Layout::kAcross), out(dtype, rows, columns, layout);
        DeviceTensor loss(AccumulatorOf(dtype), 1, 1, Layout::kAcross);
        y.FillReals(13);
        t.FillReals(14);
        b.FillReals(15);
        const HostMatrix host_y(y), host_t(t), host_b(b), host_out(out), host_loss(loss);
        const cpu::Tensor gradient = host_out.matrix();
        cpu::MseLossGrad(dtype, kScale, host_y.matrix(), host_t.matrix(), host_loss.matrix().data,
                         &gradient);
        for (bool grad : {false, true}) {
          ScratchMemory scratch(MseLossScratch(y.matrix(), SumOrder::kInvariant));
          loss.Upload();
          out.Upload();
          ASSERT_EQ(
              MseLoss(y.matrix(), t.matrix(), kScale, loss.matrix(), grad ? &out.matrix() : nullptr,
                      SumOrder::kInvariant, scratch.get(), nullptr),
              cudaSuccess);
          loss.ExpectBits(host_loss, "loss");
        }
        out.ExpectBits(host_out, "dy");
        ScratchMemory scratch(MseLossScratch(y.matrix(), SumOrder::kFast));
        out.Upload();
        ASSERT_EQ(MseLoss(y.matrix(), t.matrix(), kScale, loss.matrix(), &out.matrix(),
                          SumOrder::kFast, scratch.get(), nullptr),
                  cudaSuccess);
        out.ExpectBits(host_out, "dy with a fast loss");
        cpu::AddBias(dtype, host_y.matrix(), host_b.matrix(), host_out.matrix());
        ASSERT_EQ(AddBias(y.matrix(), b.matrix(), out.matrix(), nullptr), cudaSuccess);
        out.ExpectBits(host_out, "y + b");
        cpu::Sgd(dtype, kScale, host_y.matrix(), host_t.matrix());
        ASSERT_EQ(Sgd(y.matrix(), t.matrix(), kScale, nullptr), cudaSuccess);
        y.ExpectBits(host_y, "y - t / 3");
      }
    }
  }
}

// Rounding depends on the order of a sum; the order must not depend on the run.
TEST(GpuKernels, ReductionsGiveTheSameBitsEveryTime) {
  for (DType dtype : kAllDTypes) {
    for (Layout layout : {Layout::kAcross, Layout::kDown}) {
      DeviceTensor y(dtype, 5000, 777, layout), t(dtype, 5000, 777, layout);
      DeviceTensor loss(AccumulatorOf(dtype), 1, 1, Layout::kAcross);
      DeviceTensor sum(dtype, 1, 777, Layout::kAcross);
      ScratchMemory loss_scratch(MseLossScratch(y.matrix(), SumOrder::kFast));
      ScratchMemory sum_scratch(SumRowsScratch(y.matrix()));
      y.FillReals(11);
      t.FillReals(12);
      std::vector<double> losses, sums;
      for (int run = 0; run < 20; ++run) {
        loss.Upload();
        sum.Upload();
        ASSERT_EQ(MseLoss(y.matrix(), t.matrix(), 1.0 / 3, loss.matrix(), nullptr, SumOrder::kFast,
                          loss_scratch.get(), nullptr),
                  cudaSuccess);
        ASSERT_EQ(SumRows(y.matrix(), sum.matrix(), sum_scratch.get(), nullptr), cudaSuccess);
        if (run == 0) {
          losses = loss.Download();
          sums = sum.Download();
        }
        EXPECT_EQ(loss.Download(), losses);
        EXPECT_EQ(sum.Download(), sums);
      }
    }
  }
}

}  // namespace
}  // namespace tp::nccl
