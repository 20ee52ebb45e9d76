// The elementary functions as the GPU computes them, against the table of their errors: every 61st
// float, or all of them where TP_ALL_FLOATS is set.
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <vector>

#include "backends/nccl/functions.h"
#include "tests/backends/cpu/function_error.h"
#include "tests/backends/nccl/function_kernels.h"

namespace tp::nccl {
namespace {

using cpu::MeasuredError;

// A thread's memory on the host and the device for the floats of one call at a time.
class Worker {
 public:
  explicit Worker(int64_t most) : bytes_(most * static_cast<int64_t>(sizeof(float))) {
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    EXPECT_EQ(cudaMalloc(&in_, bytes_), cudaSuccess);
    EXPECT_EQ(cudaMalloc(&out_, bytes_), cudaSuccess);
  }
  ~Worker() {
    cudaFree(in_);
    cudaFree(out_);
    cudaStreamDestroy(stream_);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void Apply(Function function, std::span<const float> in, std::span<float> out) {
    ASSERT_LE(static_cast<int64_t>(in.size_bytes()), bytes_);
    ASSERT_EQ(cudaMemcpyAsync(in_, in.data(), in.size_bytes(), cudaMemcpyHostToDevice, stream_),
              cudaSuccess);
    ASSERT_EQ(ApplyOnGpu(function, static_cast<const float*>(in_), static_cast<float*>(out_),
                         static_cast<int64_t>(in.size()), stream_),
              cudaSuccess);
    ASSERT_EQ(cudaMemcpyAsync(out.data(), out_, in.size_bytes(), cudaMemcpyDeviceToHost, stream_),
              cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  }

 private:
  const int64_t bytes_;
  cudaStream_t stream_ = nullptr;
  void* in_ = nullptr;
  void* out_ = nullptr;
};

MeasuredError Measure(Function function, uint64_t step) {
  constexpr int64_t kMostAtATime = 1 << 16;
  const unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  const uint64_t all = uint64_t{1} << 32;
  std::vector<MeasuredError> parts(threads);
  std::vector<std::thread> workers;
  for (unsigned i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] {
      Worker worker(kMostAtATime);
      parts[i] = cpu::MeasureError(
          function, [&](auto in, auto out) { worker.Apply(function, in, out); }, all * i / threads,
          all * (i + 1) / threads, step);
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (unsigned i = 1; i < threads; ++i) {
    parts[0].normal.Include(parts[i].normal);
    parts[0].subnormal.Include(parts[i].subnormal);
  }
  return parts[0];
}

class GpuFunctions : public testing::TestWithParam<Function> {};

TEST_P(GpuFunctions, AreAsFarOffAsTheTableSays) {
  const MeasuredError measured =
      Measure(GetParam(), std::getenv("TP_ALL_FLOATS") != nullptr ? 1 : 61);
  const FunctionError worst = measured.error();
  const FunctionError stated = ErrorsOfFunctions()->Of(GetParam());
  fmt::print("{}: {{.ulps = {:.6f}, .below = {:a}, .least = {:a}, .overflow = {:a}}}, at {:a}\n",
             Name(GetParam()), worst.ulps, worst.below, worst.least, worst.overflow,
             measured.normal.worst);
  EXPECT_EQ(measured.normal.wrong, 0) << "first at " << measured.normal.first_wrong;
  EXPECT_GT(worst.ulps, 0);
  EXPECT_LE(worst.ulps, stated.ulps);
  EXPECT_LE(worst.below, stated.below);
  EXPECT_LE(worst.least, stated.least);
  EXPECT_GE(worst.overflow, stated.overflow);
}

INSTANTIATE_TEST_SUITE_P(Each, GpuFunctions, testing::ValuesIn(kAllFunctions),
                         [](const auto& param) { return std::string(Name(param.param)); });

}  // namespace
}  // namespace tp::nccl
