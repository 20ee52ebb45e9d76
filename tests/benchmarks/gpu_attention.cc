// Attention on one GPU, forward and backward: cuDNN's, and the engine's own kernel, which sums in
// the invariant order are left to. Each is captured as a graph of several, and timed at its best.
//
//   bazel-bin/tests/benchmarks/gpu_attention
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/fused_call.h"

namespace tp::nccl {
namespace {

constexpr int kRepeats = 5, kRounds = 4;

#define TP_CHECK_CUDA(call) CHECK_EQ(call, cudaSuccess) << #call

struct Shape {
  int64_t batch, sequence, heads, groups, size;
};
constexpr Shape kShapes[] = {{1, 4096, 16, 4, 128},
                             {1, 8192, 16, 4, 128},
                             {4, 2048, 16, 4, 128},
                             {4, 2048, 8, 4, 128},
                             {8, 1024, 6, 6, 64}};

// Device memory that is zero, or looks like data.
class Memory {
 public:
  explicit Memory(int64_t bytes) { TP_CHECK_CUDA(cudaMalloc(&data_, std::max<int64_t>(bytes, 1))); }
  ~Memory() { cudaFree(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

class Attention {
 public:
  explicit Attention(const Shape& shape) {
    const auto [b, s, h, g, d] = shape;
    op_.attributes.Set("scale", 0.125);
    op_.letters = {LetterPart{.letter = 'q', .length = s, .whole = s}};
    const DeviceView q = Make({b, s, g, h / g, d}), k = Make({b, s, g, d}), v = Make({b, s, g, d});
    const DeviceView o = Make({b, s, g, h / g, d});
    const DeviceView lse = Make({b, s, g, h / g}, DType::kFloat32);
    forward_.in = {q, k, v};
    forward_.out = {o, lse};
    backward_.in = {q, k, v, o, lse, Make({b, s, g, h / g, d})};
    backward_.out = {Make({b, s, g, h / g, d}), Make({b, s, g, d}), Make({b, s, g, d})};
  }

  // Milliseconds; none where cuDNN is asked for and does not take it.
  double Time(const Kernel& kernel, bool backward, bool fused) {
    KernelCall call = backward ? backward_ : forward_;
    call.order = fused ? SumOrder::kFast : SumOrder::kInvariant;
    if (fused && !FusedCall(call, false).taken()) return 0;
    const ScratchSize size = kernel.scratch(call);
    const Memory scratch(size.partial_bytes), counters(size.counters * 4 + 4);
    TP_CHECK_CUDA(cudaMemset(counters.data(), 0, size.counters * 4 + 4));
    call.scratch = {scratch.data(), static_cast<unsigned*>(counters.data())};
    cudaStream_t stream = nullptr;
    TP_CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    TP_CHECK_CUDA(kernel.enqueue(call, stream));
    TP_CHECK_CUDA(cudaStreamSynchronize(stream));
    TP_CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < kRepeats; ++i) TP_CHECK_CUDA(kernel.enqueue(call, stream));
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    TP_CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
    TP_CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    cudaEvent_t begin = nullptr, end = nullptr;
    TP_CHECK_CUDA(cudaEventCreate(&begin));
    TP_CHECK_CUDA(cudaEventCreate(&end));
    float best = HUGE_VALF;
    for (int round = 0; round < kRounds; ++round) {
      TP_CHECK_CUDA(cudaEventRecord(begin, stream));
      TP_CHECK_CUDA(cudaGraphLaunch(executable, stream));
      TP_CHECK_CUDA(cudaEventRecord(end, stream));
      TP_CHECK_CUDA(cudaStreamSynchronize(stream));
      float elapsed = 0;
      TP_CHECK_CUDA(cudaEventElapsedTime(&elapsed, begin, end));
      best = std::min(best, elapsed / kRepeats);
    }
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    cudaStreamDestroy(stream);
    return best;
  }

  int64_t ScratchBytes() const { return kAttentionGradKernel.scratch(backward_).partial_bytes; }

 private:
  DeviceView Make(const std::vector<int64_t>& sizes, DType dtype = DType::kBFloat16) {
    DeviceView view{nullptr, dtype};
    int64_t stride = 1;
    for (int64_t size : sizes) stride *= size;
    memory_.push_back(std::make_unique<Memory>(stride * SizeOf(dtype)));
    view.data = memory_.back()->data();
    TP_CHECK_CUDA(FillNoise(view.data, dtype, stride, nullptr));
    for (int64_t size : sizes) view.dims.push_back({size, stride /= size});
    return view;
  }

  ScheduledOp op_;
  std::vector<std::unique_ptr<Memory>> memory_;
  KernelCall forward_{.op = op_}, backward_{.op = op_};
};

void Print(const Shape& shape) {
  Attention attention(shape);
  const auto square = static_cast<double>(shape.batch * shape.sequence * shape.sequence);
  const double products = square * static_cast<double>(shape.heads * shape.size);
  const auto cell = [&](const Kernel& kernel, bool backward, bool fused) {
    const double ms = attention.Time(kernel, backward, fused);
    if (ms == 0) return std::string("                  -");
    return fmt::format("{:8.3f} ms {:7.0f}", ms, (backward ? 5 : 2) * products / ms / 1e9);
  };
  fmt::print("{:>2} x {:>4}, {:>2} heads in {} groups, {:>3} | {} {} | {} {} | {:.0f}\n",
             shape.batch, shape.sequence, shape.heads, shape.groups, shape.size,
             cell(kAttentionKernel, false, true), cell(kAttentionKernel, false, false),
             cell(kAttentionGradKernel, true, true), cell(kAttentionGradKernel, true, false),
             static_cast<double>(attention.ScratchBytes()) / 1e6);
  std::fflush(stdout);
}

void Run() {
  fmt::print(
      "bf16                              | forward: cuDNN, TFLOP/s; own         | backward: the "
      "same"
      "                      | scratch MB\n");
  for (const Shape& shape : kShapes) Print(shape);
}

}  // namespace
}  // namespace tp::nccl

int main(int, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  tp::nccl::Run();
}
