#include "tests/backends/nccl/gpu_trial_kernels.h"

#include <gtest/gtest.h>

#include <optional>

#include "backends/nccl/functions.h"
#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/calls.h"
#include "backends/nccl/kernels/looped_gemm.h"
#include "backends/nccl/kernels/views.h"

namespace tp::nccl {
namespace {

constexpr int64_t kAlignment = 256;

std::string Wrong(cudaError_t error) {
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

}  // namespace

GpuTrialKernels::GpuTrialKernels() {
  EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  EXPECT_EQ(cublasLtCreate(&context_.handle), CUBLAS_STATUS_SUCCESS);
  context_.workspace_bytes = size_t{32} << 20;
  EXPECT_EQ(cudaMalloc(&context_.workspace, context_.workspace_bytes), cudaSuccess);
  void *arena = nullptr, *counters = nullptr;
  EXPECT_EQ(cudaMalloc(&arena, kBytes), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&scratch_.partials, kScratchBytes), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&counters, kCounters * sizeof(unsigned)), cudaSuccess);
  arena_ = static_cast<char*>(arena);
  scratch_.counters = static_cast<unsigned*>(counters);
  EXPECT_EQ(cudaMemset(scratch_.counters, 0, kCounters * sizeof(unsigned)), cudaSuccess);
  EXPECT_EQ(cudaMemset(scratch_.partials, 0xff, kScratchBytes), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

GpuTrialKernels::~GpuTrialKernels() {
  cudaStreamDestroy(stream_);
  cublasLtDestroy(context_.handle);
  cudaFree(context_.workspace);
  cudaFree(arena_);
  cudaFree(scratch_.partials);
  cudaFree(scratch_.counters);
}

const FunctionErrors* GpuTrialKernels::functions() const { return ErrorsOfFunctions(); }

void* GpuTrialKernels::AddressOf(const Schedule& schedule, const View& view) const {
  return arena_ + offsets_[view.buffer] + view.offset * SizeOf(schedule.buffers[view.buffer].dtype);
}

std::string GpuTrialKernels::EnqueueProduct(const Schedule& schedule, const ScheduledOp& op) {
  const DType dtype = schedule.buffers[op.writes[0].buffer].dtype;
  const std::optional<ProductViews> views = AsBatch(op);
  if (!views) {
    const auto in_memory = [&](const View& view) {
      return DeviceView{AddressOf(schedule, view), dtype, view.dims};
    };
    LoopedProduct product{in_memory(op.reads[0]), in_memory(op.reads[1]), in_memory(op.writes[0]),
                          std::nullopt};
    if (op.reads.size() == 3) product.added = in_memory(op.reads[2]);
    return Wrong(LoopedGemm(product, stream_));
  }
  const auto matrix = [&](const View& view) {
    return DeviceView{AddressOf(schedule, view), dtype, view.dims}.matrix();
  };
  std::optional<DeviceMatrix> added;
  if (views->added) added = matrix(*views->added);
  const auto gemm = Gemm::Plan(context_, matrix(views->a), matrix(views->b), matrix(views->c),
                               added, {}, views->batch);
  if (!gemm.ok()) return gemm.status().ToString();
  const Status status = (*gemm)->Run(stream_);
  return status.ok() ? "" : status.ToString();
}

std::string GpuTrialKernels::Enqueue(const Schedule& schedule, const ScheduledOp& op) {
  if (op.action == Action::kGemm) return EnqueueProduct(schedule, op);
  const Kernel* kernel = FindKernel(op.action);
  const KernelCall call = MakeCall(
      schedule, op, [&](const View& view) { return AddressOf(schedule, view); }, scratch_);
  if (kernel->scratch != nullptr) {
    const ScratchSize size = kernel->scratch(call);
    if (size.partial_bytes > kScratchBytes || size.counters > kCounters) {
      return "it asks for more scratch memory than a trial has";
    }
  }
  return Wrong(kernel->enqueue(call, stream_));
}

// What shares them next counts on zeros.
std::string GpuTrialKernels::CheckCounters() const {
  std::vector<unsigned> counters(64);
  const std::string wrong =
      Wrong(cudaMemcpy(counters.data(), scratch_.counters, counters.size() * sizeof(unsigned),
                       cudaMemcpyDeviceToHost));
  if (!wrong.empty()) return wrong;
  return counters == std::vector<unsigned>(64) ? "" : "it left counters that are not 0";
}

std::string GpuTrialKernels::Run(const Schedule& schedule, const ScheduledOp& op,
                                 std::vector<std::vector<std::byte>>& memory) {
  const Status known = CheckKernels(schedule);
  if (!known.ok()) return known.ToString();
  offsets_.clear();
  int64_t bytes = 0;
  for (const auto& buffer : memory) {
    offsets_.push_back(bytes);
    bytes += (static_cast<int64_t>(buffer.size()) + kAlignment - 1) / kAlignment * kAlignment;
  }
  if (bytes > kBytes) return "it takes more memory than a trial has";
  std::vector<std::byte> before(bytes), after[2];
  for (size_t i = 0; i < memory.size(); ++i) {
    std::copy(memory[i].begin(), memory[i].end(), before.begin() + offsets_[i]);
  }
  for (auto& image : after) {
    image.resize(bytes);
    std::string wrong =
        Wrong(cudaMemcpyAsync(arena_, before.data(), bytes, cudaMemcpyHostToDevice, stream_));
    if (wrong.empty()) wrong = Enqueue(schedule, op);
    if (!wrong.empty()) return wrong;
    wrong = Wrong(cudaMemcpyAsync(image.data(), arena_, bytes, cudaMemcpyDeviceToHost, stream_));
    if (wrong.empty()) wrong = Wrong(cudaStreamSynchronize(stream_));
    if (!wrong.empty()) return wrong;
  }
  if (after[0] != after[1]) return "it gave other bits the second time";
  for (size_t i = 0; i < memory.size(); ++i) {
    std::copy_n(after[0].begin() + offsets_[i], memory[i].size(), memory[i].begin());
  }
  return CheckCounters();
}

}  // namespace tp::nccl
