// The GPU backend's kernels, for trials (tests/ops/trial.h).
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <vector>

#include "backends/nccl/kernels/gemm.h"
#include "backends/nccl/kernels/kernels.h"
#include "tests/ops/trial.h"

namespace tp::nccl {

// Each op runs twice on the same memory, and must leave the same bits.
class GpuTrialKernels : public TrialKernels {
 public:
  GpuTrialKernels();
  ~GpuTrialKernels() override;
  GpuTrialKernels(const GpuTrialKernels&) = delete;
  GpuTrialKernels& operator=(const GpuTrialKernels&) = delete;

  std::string Run(const Schedule& schedule, const ScheduledOp& op,
                  std::vector<std::vector<std::byte>>& memory) override;
  const FunctionErrors* functions() const override;

 private:
  std::string Enqueue(const Schedule& schedule, const ScheduledOp& op);
  std::string EnqueueProduct(const Schedule& schedule, const ScheduledOp& op);
  void* AddressOf(const Schedule& schedule, const View& view) const;
  std::string CheckCounters() const;

  static constexpr int64_t kBytes = int64_t{256} << 20;
  static constexpr int64_t kScratchBytes = int64_t{64} << 20;
  static constexpr int64_t kCounters = 1 << 16;

  cudaStream_t stream_ = nullptr;
  GemmContext context_;
  char* arena_ = nullptr;
  std::vector<int64_t> offsets_;  // by buffer
  Scratch scratch_;
};

}  // namespace tp::nccl
