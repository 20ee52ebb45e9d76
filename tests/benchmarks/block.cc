// What a transformer's block costs beside its matrix products, op by op: each op of a training step
// on one core, at its best of some rounds.
//
//   ./bazelw run //tests/benchmarks:block
#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cpu/gemm.h"
#include "backends/cpu/kernels/all.h"
#include "tests/ops/cpu_scratch.h"
#include "tp/core/clock.h"
#include "tp/core/random.h"
#include "tp/model/transformer.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

constexpr int kRounds = 7;

// One rank's buffers, each of its own memory.
class Memory {
 public:
  explicit Memory(const Schedule& schedule) : schedule_(schedule) {
    for (size_t i = 0; i < schedule.buffers.size(); ++i) {
      const Buffer& buffer = schedule.buffers[i];
      bytes_.emplace_back(static_cast<size_t>(buffer.bytes()) + 64);
      const RandomTensor random(/*seed=*/1, /*stream=*/i);
      for (int64_t e = 0; e < buffer.elements; ++e) {
        const auto index = static_cast<uint64_t>(e);
        const double value = buffer.dtype == DType::kInt32 ? static_cast<double>(e % 100)
                                                           : 0.05 * random.Uniform(index);
        EncodeFromDouble(buffer.dtype, std::span(&value, 1),
                         std::span(Data(i) + e * SizeOf(buffer.dtype),
                                   static_cast<size_t>(SizeOf(buffer.dtype))));
      }
    }
  }

  cpu::Tensor At(const View& view) {
    const int64_t width = SizeOf(schedule_.buffers[view.buffer].dtype);
    return {Data(static_cast<size_t>(view.buffer)) + view.offset * width, view.dims};
  }

 private:
  std::byte* Data(size_t buffer) {
    void* data = bytes_[buffer].data();
    size_t space = bytes_[buffer].size();
    return static_cast<std::byte*>(std::align(64, 1, data, space));
  }

  const Schedule& schedule_;
  std::vector<std::vector<std::byte>> bytes_;
};

double MillisecondsOf(const Schedule& schedule, const ScheduledOp& op, Memory& memory) {
  const cpu::Kernel* const kernel = cpu::FindKernel(op.action);
  CHECK(kernel != nullptr) << op.action.name;
  std::vector<cpu::Tensor> in, out;
  for (const View& view : op.reads) in.push_back(memory.At(view));
  for (const View& view : op.writes) out.push_back(memory.At(view));
  cpu::KernelCall call{op,
                       schedule.buffers[op.reads[0].buffer].dtype,
                       schedule.buffers[op.writes[0].buffer].dtype,
                       in,
                       out,
                       nullptr};
  const CpuScratch scratch(*kernel, call);
  int64_t best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const int64_t begin = HostClock().NowNs();
    kernel->run(call);
    const int64_t ns = HostClock().NowNs() - begin;
    best = round == 0 ? ns : std::min(best, ns);
  }
  return static_cast<double>(best) / 1e6;
}

struct Cost {
  int launches = 0;
  double milliseconds = 0;
};

void Run() {
  TransformerConfig config;
  config.vocabulary = 8192;
  config.hidden = 768;
  config.layers = 1;
  config.heads = 12;
  config.kv_heads = 12;
  config.head_size = 64;
  config.ffn = 2048;
  TransformerStepOptions options;
  options.batch = 1;
  options.sequence = 512;
  const Mesh mesh = Mesh::Create(1, 1).value();
  const Program program = MakeTransformerStep(config, options, mesh).value();
  const Schedule schedule = Lower(program, mesh, 0).value();
  Memory memory(schedule);
  std::map<std::pair<bool, std::string_view>, Cost> costs;  // by whether it is of the block, and op
  double block = 0, products = 0;
  for (const ScheduledOp& op : schedule.ops) {
    const bool of_block =
        op.name.find("layers.0") != std::string::npos && op.phase != Phase::kOptimizer;
    const double ms = MillisecondsOf(schedule, op, memory);
    Cost& cost = costs[{of_block, op.action.name}];
    ++cost.launches;
    cost.milliseconds += ms;
    if (!of_block) continue;
    block += ms;
    if (op.action == Action::kGemm) products += ms;
  }
  fmt::print("{}\n", cpu::GemmLibrary());
  fmt::print("hidden 768, ffn 2048, 12 heads, 512 tokens, vocabulary 8192, fp32; ms on one core\n");
  for (const auto& [key, cost] : costs) {
    fmt::print("{:<16}{:<24}{:>4}{:>10.3f}\n", key.first ? "block" : "around it", key.second,
               cost.launches, cost.milliseconds);
  }
  fmt::print("block, forward and backward: {:.2f} ms, {:.3f} times its products' {:.2f}\n", block,
             block / products, products);
}

}  // namespace
}  // namespace tp

int main() {
  CHECK(tp::cpu::PrepareGemms(1).ok());
  tp::Run();
  return 0;
}
