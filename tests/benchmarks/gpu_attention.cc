// Attention on one GPU, forward and backward: cuDNN's, and the engine's own kernel, which sums in
// the invariant order are left to. Each is captured as a graph of several, and timed at its best.
//
//   bazel-bin/tests/benchmarks/gpu_attention
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <glog/logging.h>

#include <cstdio>
#include <string>
#include <vector>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/fused_call.h"
#include "tests/benchmarks/gpu_timing.h"

namespace tp::nccl {
namespace {

constexpr int kRepeats = 5, kRounds = 4;

struct Shape {
  int64_t batch, sequence, heads, groups, size;
};
constexpr Shape kShapes[] = {{1, 4096, 16, 4, 128},
                             {1, 8192, 16, 4, 128},
                             {4, 2048, 16, 4, 128},
                             {4, 2048, 8, 4, 128},
                             {8, 1024, 6, 6, 64}};

class Attention {
 public:
  explicit Attention(const Shape& shape) {
    const auto [b, s, h, g, d] = shape;
    op_.attributes.Set("scale", 0.125);
    op_.letters = {LetterPart{.letter = 'q', .length = s, .whole = s}};
    const std::vector<int64_t> of_queries{b, s, g, h / g, d}, of_keys{b, s, g, d};
    const auto make = [&](const std::vector<int64_t>& sizes) { return tensors_.Make(sizes); };
    const DeviceView q = make(of_queries), k = make(of_keys), v = make(of_keys);
    const DeviceView o = make(of_queries);
    const DeviceView lse = tensors_.Make({b, s, g, h / g}, DType::kFloat32);
    forward_.in = {q, k, v};
    forward_.out = {o, lse};
    backward_.in = {q, k, v, o, lse, make(of_queries)};
    backward_.out = {make(of_queries), make(of_keys), make(of_keys)};
  }

  // Milliseconds; none where cuDNN is asked for and does not take it.
  double Time(const Kernel& kernel, bool backward, bool fused) {
    KernelCall call = backward ? backward_ : forward_;
    call.order = fused ? SumOrder::kFast : SumOrder::kInvariant;
    if (fused && !FusedCall(call, false).taken()) return 0;
    const ScratchMemory scratch(kernel.scratch(call));
    call.scratch = scratch.get();
    return BestMsInGraph(kRepeats, kRounds,
                         [&](int, cudaStream_t stream) { return kernel.enqueue(call, stream); });
  }

  int64_t ScratchBytes() const { return kAttentionGradKernel.scratch(backward_).partial_bytes; }

 private:
  ScheduledOp op_;
  Tensors tensors_;
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
