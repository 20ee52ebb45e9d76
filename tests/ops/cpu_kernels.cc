#include "tests/ops/cpu_kernels.h"

#include "backends/cpu/functions.h"
#include "backends/cpu/kernels/all.h"
#include "tests/ops/cpu_scratch.h"

namespace tp {

std::string CpuKernels::Run(const Schedule& schedule, const ScheduledOp& op,
                            std::vector<std::vector<std::byte>>& memory) {
  const cpu::Kernel* kernel = cpu::FindKernel(op.action);
  if (kernel == nullptr) return "the CPU backend has no kernel " + std::string(Name(op.action));
  const auto tensor = [&](const View& view) {
    const int64_t width = SizeOf(schedule.buffers[view.buffer].dtype);
    return cpu::Tensor(memory[view.buffer].data() + view.offset * width, view.dims);
  };
  std::vector<cpu::Tensor> in, out;
  for (const View& view : op.reads) in.push_back(tensor(view));
  for (const View& view : op.writes) out.push_back(tensor(view));
  cpu::KernelCall call{op,
                       schedule.buffers[op.reads[0].buffer].dtype,
                       schedule.buffers[op.writes[0].buffer].dtype,
                       in,
                       out,
                       nullptr};
  const CpuScratch scratch(*kernel, call);
  kernel->run(call);
  return "";
}

const FunctionErrors* CpuKernels::functions() const { return cpu::ErrorsOfFunctions(); }

}  // namespace tp
