// Matrix products in every pair of layouts against plain loops, on integers small enough that any
// order of summation is exact. Every candidate that may be chosen is held to it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "backends/nccl/control/local_control.h"
#include "backends/nccl/kernels/gemm.h"
#include "backends/nccl/kernels/gemm_search.h"
#include "tests/backends/nccl/device_tensor.h"

namespace tp::nccl {
namespace {

struct Sizes {
  int64_t m, k, n;
};
constexpr Sizes kSizes[] = {{20, 100, 50},  {1, 64, 33},  {33, 64, 1},   {7, 1, 9},
                            {5, 0, 6},      {0, 4, 5},    {4, 5, 0},     {64, 96, 128},
                            {20, 333, 500}, {37, 24, 64}, {129, 32, 12}, {50, 20, 1032}};

constexpr size_t kScratchBytes = size_t{8} << 20;

class GpuGemm : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(cublasLtCreate(&context_.handle), CUBLAS_STATUS_SUCCESS);
    context_.workspace_bytes = size_t{32} << 20;
    ASSERT_EQ(cudaMalloc(&context_.workspace, context_.workspace_bytes), cudaSuccess);
    ASSERT_EQ(cudaMalloc(&context_.scratch, kScratchBytes), cudaSuccess);
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  void TearDown() override {
    cudaStreamDestroy(stream_);
    cudaFree(context_.workspace);
    cudaFree(context_.scratch);
    cublasLtDestroy(context_.handle);
  }

  void Check(DType dtype, const Sizes& sizes, Layout la, Layout lb, Layout lc, bool with_bias,
             const GemmOptions& options) {
    SCOPED_TRACE(fmt::format("{} {}x{}x{} layouts {} {} {}{}", Name(dtype), sizes.m, sizes.k,
                             sizes.n, static_cast<int>(la), static_cast<int>(lb),
                             static_cast<int>(lc), with_bias ? " with bias" : ""));
    DeviceTensor a(dtype, sizes.m, sizes.k, la), b(dtype, sizes.k, sizes.n, lb);
    DeviceTensor c(dtype, sizes.m, sizes.n, lc), bias(dtype, 1, sizes.n, Layout::kAcross);
    a.FillIntegers(3, 1);
    b.FillIntegers(3, 2);
    bias.FillIntegers(50, 3);
    const auto gemm =
        Gemm::Plan(context_, a.matrix(), b.matrix(), c.matrix(),
                   with_bias ? std::optional<DeviceMatrix>(bias.matrix()) : std::nullopt, options);
    ASSERT_TRUE(gemm.ok()) << gemm.status().ToString();
    ASSERT_LE(Gemm::ScratchBytes(a.matrix(), b.matrix(), c.matrix(), options), kScratchBytes);
    for (int i = 0; i == 0 || i < (*gemm)->candidates(); ++i) {
      (*gemm)->Choose(i);
      c.Upload();
      const Status status = (*gemm)->Run(stream_);
      ASSERT_TRUE(status.ok()) << status.ToString();
      c.ExpectExactly(
          [&](int64_t row, int64_t column) {
            double sum = with_bias ? bias.At(0, column) : 0;
            for (int64_t k = 0; k < sizes.k; ++k) sum += a.At(row, k) * b.At(k, column);
            return sum;
          },
          fmt::format("candidate {} of {}", i, (*gemm)->signature()));
    }
  }

  static void OfferNeighboursOfFirstAndLast(Gemm& gemm) {
    const int last = gemm.candidates() - 1;
    if (last < 0) return;
    gemm.OfferNeighbours(0);
    gemm.OfferNeighbours(last);
  }

  GemmContext context_;
  cudaStream_t stream_ = nullptr;
};

class GpuGemmOf : public GpuGemm, public testing::WithParamInterface<DType> {};

TEST_P(GpuGemmOf, EveryLayout) {
  for (Layout a : kProductLayouts) {
    for (Layout b : kProductLayouts) {
      for (Layout c : kProductLayouts) {
        for (bool bias : {false, true}) Check(GetParam(), {20, 40, 24}, a, b, c, bias, {});
      }
    }
  }
}

TEST_P(GpuGemmOf, EverySize) {
  for (const Sizes& sizes : kSizes) {
    for (Layout c : {Layout::kAcross, Layout::kDown}) {
      for (bool bias : {false, true}) {
        Check(GetParam(), sizes, Layout::kAcross, Layout::kDown, c, bias, {});
        Check(GetParam(), sizes, Layout::kDown, Layout::kAcross, c, bias, {});
      }
    }
  }
}

// The matrices of a batch lie below one another in a tensor, or beside one another in its
// transpose.
TEST_P(GpuGemmOf, EveryBatch) {
  constexpr int64_t kBatch = 3;
  const auto first = [](const DeviceTensor& all, bool turned, Batch& batch, int64_t Batch::*next) {
    DeviceMatrix matrix = all.matrix();
    matrix.rows /= kBatch;
    batch.*next = matrix.rows * matrix.row_stride;
    return turned ? matrix.Transposed() : matrix;
  };
  const auto at = [](const DeviceTensor& all, bool turned, int64_t nth, int64_t i, int64_t j) {
    const int64_t rows = all.matrix().rows / kBatch;
    return turned ? all.At(nth * rows + j, i) : all.At(nth * rows + i, j);
  };
  for (const Sizes& s : {Sizes{20, 40, 24}, Sizes{7, 9, 5}, Sizes{1, 64, 33}, Sizes{5, 0, 6}}) {
    for (int turns = 0; turns < 16; ++turns) {
      const bool turn_a = turns & 1, turn_b = turns & 2, turn_c = turns & 4, adds = turns & 8;
      const bool turn_added = turn_a ? turn_c : !turn_c;
      SCOPED_TRACE(fmt::format("{}x{}x{} turns {}", s.m, s.k, s.n, turns));
      const Layout layout = turns % 3 == 0 ? Layout::kAcrossPadded : Layout::kAcross;
      DeviceTensor a(GetParam(), kBatch * (turn_a ? s.k : s.m), turn_a ? s.m : s.k, layout);
      DeviceTensor b(GetParam(), kBatch * (turn_b ? s.n : s.k), turn_b ? s.k : s.n, layout);
      DeviceTensor c(GetParam(), kBatch * (turn_c ? s.n : s.m), turn_c ? s.m : s.n, layout);
      a.FillIntegers(3, 1);
      DeviceTensor added(GetParam(), kBatch * (turn_added ? s.n : s.m), turn_added ? s.m : s.n,
                         layout);
      b.FillIntegers(3, 2);
      added.FillIntegers(50, 3);
      Batch batch{.count = kBatch};
      const DeviceMatrix first_a = first(a, turn_a, batch, &Batch::a);
      const DeviceMatrix first_b = first(b, turn_b, batch, &Batch::b);
      const DeviceMatrix first_c = first(c, turn_c, batch, &Batch::c);
      std::optional<DeviceMatrix> first_added;
      if (adds) first_added = first(added, turn_added, batch, &Batch::added);
      const auto gemm = Gemm::Plan(context_, first_a, first_b, first_c, first_added, {}, batch);
      ASSERT_TRUE(gemm.ok()) << gemm.status().ToString();
      for (int i = 0; i == 0 || i < (*gemm)->candidates(); ++i) {
        (*gemm)->Choose(i);
        c.Upload();
        const Status status = (*gemm)->Run(stream_);
        ASSERT_TRUE(status.ok()) << status.ToString();
        c.ExpectExactly(
            [&](int64_t row, int64_t column) {
              const int64_t rows = turn_c ? s.n : s.m;
              const int64_t m = turn_c ? column : row % rows, n = turn_c ? row % rows : column;
              double sum = adds ? at(added, turn_added, row / rows, m, n) : 0;
              for (int64_t k = 0; k < s.k; ++k) {
                sum += at(a, turn_a, row / rows, m, k) * at(b, turn_b, row / rows, k, n);
              }
              return sum;
            },
            fmt::format("candidate {} of {}", i, (*gemm)->signature()));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllDTypes, GpuGemmOf, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_F(GpuGemm, Tf32) {
  for (const Sizes& sizes : kSizes) {
    Check(DType::kFloat32, sizes, Layout::kAcross, Layout::kDown, Layout::kDown, true,
          {.tf32 = true});
  }
}

// Neighbours of what cuBLASLt offers are right as well; so are those of products with something
// turned.
TEST_P(GpuGemmOf, EveryNeighbour) {
  for (const Sizes& sizes : {Sizes{64, 96, 128}, Sizes{37, 96, 64}}) {
    for (Layout c : {Layout::kAcross, Layout::kDown}) {
      DeviceTensor a(GetParam(), sizes.m, sizes.k, Layout::kDown);
      DeviceTensor b(GetParam(), sizes.k, sizes.n, Layout::kDown);
      DeviceTensor out(GetParam(), sizes.m, sizes.n, c);
      DeviceTensor bias(GetParam(), 1, sizes.n, Layout::kAcross);
      a.FillIntegers(3, 1);
      b.FillIntegers(3, 2);
      bias.FillIntegers(50, 3);
      const auto gemm =
          Gemm::Plan(context_, a.matrix(), b.matrix(), out.matrix(), bias.matrix(), {});
      ASSERT_TRUE(gemm.ok()) << gemm.status().ToString();
      const int offered = (*gemm)->candidates();
      OfferNeighboursOfFirstAndLast(**gemm);
      EXPECT_GT((*gemm)->candidates(), offered);
      for (int i = 0; i < (*gemm)->candidates(); ++i) {
        (*gemm)->Choose(i);
        out.Upload();
        if (!(*gemm)->Run(stream_).ok()) continue;  // is no choice
        out.ExpectExactly(
            [&](int64_t row, int64_t column) {
              double sum = bias.At(0, column);
              for (int64_t k = 0; k < sizes.k; ++k) sum += a.At(row, k) * b.At(k, column);
              return sum;
            },
            (*gemm)->Describe(i));
      }
    }
  }
}

// A matrix of c's direction is read where it is; one of the other direction is written to c first.
TEST_P(GpuGemmOf, AddsAMatrix) {
  for (const Sizes& sizes :
       {Sizes{64, 96, 128}, Sizes{37, 96, 64}, Sizes{1, 8, 16}, Sizes{5, 0, 3}}) {
    for (Layout c : {Layout::kAcross, Layout::kDown}) {
      for (Layout of_added : {Layout::kAcross, Layout::kDown}) {
        DeviceTensor a(GetParam(), sizes.m, sizes.k, Layout::kAcross);
        DeviceTensor b(GetParam(), sizes.k, sizes.n, Layout::kAcross);
        DeviceTensor out(GetParam(), sizes.m, sizes.n, c);
        DeviceTensor added(GetParam(), sizes.m, sizes.n, of_added);
        a.FillIntegers(3, 1);
        b.FillIntegers(3, 2);
        added.FillIntegers(50, 3);
        const auto gemm =
            Gemm::Plan(context_, a.matrix(), b.matrix(), out.matrix(), added.matrix(), {});
        ASSERT_TRUE(gemm.ok()) << gemm.status().ToString();
        OfferNeighboursOfFirstAndLast(**gemm);
        for (int i = 0; i < std::max(1, (*gemm)->candidates()); ++i) {
          if ((*gemm)->candidates() > 0) (*gemm)->Choose(i);
          out.Upload();
          if (!(*gemm)->Run(stream_).ok()) continue;  // is no choice
          out.ExpectExactly(
              [&](int64_t row, int64_t column) {
                double sum = added.At(row, column);
                for (int64_t k = 0; k < sizes.k; ++k) sum += a.At(row, k) * b.At(k, column);
                return sum;
              },
              (*gemm)->candidates() > 0 ? (*gemm)->Describe(i) : "no products");
        }
      }
    }
  }
}

// A long sum that 16 bits do not hold, and that what comes after brings back to 1: a bias, a
// matrix, or the rest of the sum, if parts of it met in 16 bits.
TEST_F(GpuGemm, NoCandidateRoundsTwice) {
  constexpr int64_t kRows = 16, kTerms = 4096, kColumns = 64;
  constexpr DType kType = DType::kBFloat16;
  for (int64_t rows_added : {int64_t{0}, int64_t{1}, kRows}) {
    for (Layout layout : {Layout::kAcross, Layout::kDown}) {
      DeviceTensor a(kType, kRows, kTerms, Layout::kAcross);
      DeviceTensor b(kType, kTerms, kColumns, Layout::kDown);
      DeviceTensor c(kType, kRows, kColumns, layout),
          added(kType, std::max<int64_t>(rows_added, 1), kColumns,
                rows_added > 1 ? layout : Layout::kAcross);
      a.Fill(1);
      b.Fill(1);
      added.Fill(-kTerms);
      // Ones, a 2 somewhere in the first half of each column, and -1 in the second, or what is
      // added.
      std::vector<double> column(kTerms, 1);
      if (rows_added == 0) std::fill(column.begin() + kTerms / 2, column.end(), -1);
      for (int64_t j = 0; j < kColumns; ++j) {
        std::vector<double> with_two = column;
        with_two[j * 31 % (kTerms / 2)] = 2;
        std::vector<std::byte> bytes(kTerms * SizeOf(kType));
        EncodeFromDouble(kType, with_two, bytes);
        auto* at = static_cast<char*>(b.matrix().data) + j * kTerms * SizeOf(kType);
        ASSERT_EQ(cudaMemcpy(at, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), cudaSuccess);
      }
      const auto gemm = Gemm::Plan(
          context_, a.matrix(), b.matrix(), c.matrix(),
          rows_added > 0 ? std::optional<DeviceMatrix>(added.matrix()) : std::nullopt, {});
      ASSERT_TRUE(gemm.ok()) << gemm.status().ToString();
      const int offered = (*gemm)->candidates();
      for (int i = 0; i < offered; ++i) (*gemm)->OfferNeighbours(i);
      for (int i = 0; i < (*gemm)->candidates(); ++i) {
        (*gemm)->Choose(i);
        c.Upload();
        if (!(*gemm)->Run(stream_).ok()) continue;  // is no choice
        c.ExpectExactly([](int64_t, int64_t) { return 1.0; }, (*gemm)->Describe(i));
      }
    }
  }
}

// A matrix whose lines no wide access fits is offered turned.
TEST_F(GpuGemm, TurnsWhatIsUneven) {
  constexpr DType kType = DType::kBFloat16;
  DeviceTensor even(kType, 64, 64, Layout::kAcross);
  for (Layout layout : {Layout::kAcross, Layout::kDown}) {
    DeviceTensor a(kType, 63, 64, layout), c(kType, 63, 64, layout);
    const bool uneven = layout == Layout::kDown;
    EXPECT_EQ(Gemm::ScratchBytes(a.matrix(), even.matrix(), c.matrix(), {}) > 0, uneven);
    const auto gemm = Gemm::Plan(context_, a.matrix(), even.matrix(), c.matrix(), std::nullopt, {});
    ASSERT_TRUE(gemm.ok()) << gemm.status().ToString();
    const std::string& signature = (*gemm)->signature();
    EXPECT_EQ(signature.find("a turned") != std::string::npos, uneven) << signature;
    EXPECT_EQ(signature.find("c turned") != std::string::npos, uneven) << signature;
  }
}

// fp32 products must not lose bits that tf32 would: 1 + 2^-20 survives.
TEST_F(GpuGemm, Fp32IsNotTf32) {
  DeviceTensor a(DType::kFloat32, 64, 64, Layout::kAcross);
  DeviceTensor b(DType::kFloat32, 64, 64, Layout::kAcross);
  DeviceTensor c(DType::kFloat32, 64, 64, Layout::kAcross);
  std::vector<float> fine(64 * 64, 1 + 0x1p-20f), unit(64 * 64, 0);
  for (int i = 0; i < 64; ++i) unit[i * 65] = 1;
  ASSERT_EQ(cudaMemcpy(a.matrix().data, fine.data(), fine.size() * 4, cudaMemcpyHostToDevice),
            cudaSuccess);
  ASSERT_EQ(cudaMemcpy(b.matrix().data, unit.data(), unit.size() * 4, cudaMemcpyHostToDevice),
            cudaSuccess);
  const auto gemm = Gemm::Plan(context_, a.matrix(), b.matrix(), c.matrix(), std::nullopt, {});
  ASSERT_TRUE(gemm.ok()) << gemm.status().ToString();
  for (int i = 0; i < (*gemm)->candidates(); ++i) {
    (*gemm)->Choose(i);
    c.Upload();
    ASSERT_TRUE((*gemm)->Run(stream_).ok());
    c.ExpectExactly([](int64_t, int64_t) { return 1 + 0x1p-20; }, "c");
  }
}

TEST_F(GpuGemm, RefusesAMatrixThatLiesNeitherWay) {
  DeviceTensor a(DType::kFloat32, 4, 4, Layout::kScattered);
  const auto gemm = Gemm::Plan(context_, a.matrix(), a.matrix(), a.matrix(), std::nullopt, {});
  EXPECT_EQ(gemm.status().code(), StatusCode::kInvalidArgument);
}

TEST_F(GpuGemm, TheChosenAlgorithmIsStillRight) {
  for (int64_t rows : {128, 127}) {  // even, and not
    DeviceTensor a(DType::kBFloat16, rows, 512, Layout::kDown);
    DeviceTensor b(DType::kBFloat16, 512, 256, Layout::kAcross);
    DeviceTensor c(DType::kBFloat16, rows, 256, Layout::kDown);
    a.FillIntegers(2, 1);
    b.FillIntegers(2, 2);
    const auto controls = MakeLocalControls(1);
    GemmTimes times;
    const auto choose = [&]() -> StatusOr<std::unique_ptr<Gemm>> {
      TP_ASSIGN_OR_RETURN(
          auto gemm, Gemm::Plan(context_, a.matrix(), b.matrix(), c.matrix(), std::nullopt, {}));
      TP_RETURN_IF_ERROR(
          ChooseAlgorithms({gemm.get()}, stream_, *controls[0], std::chrono::seconds(30), times));
      return gemm;
    };
    const auto gemm = choose();
    ASSERT_TRUE(gemm.ok()) << gemm.status().ToString();
    c.Upload();
    ASSERT_TRUE((*gemm)->Run(stream_).ok());
    c.ExpectExactly(
        [&](int64_t i, int64_t j) {
          double sum = 0;
          for (int64_t k = 0; k < 512; ++k) sum += a.At(i, k) * b.At(k, j);
          return sum;
        },
        (*gemm)->signature());
    // The same product again is not measured again.
    const GemmTimes known = times;
    const auto again = choose();
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    EXPECT_EQ(times, known);
  }
}

}  // namespace
}  // namespace tp::nccl
