#include <type_traits>

#include "backends/nccl/kernels/grouped.h"
#include "backends/nccl/kernels/rms_norm.cuh"

namespace tp::nccl {
namespace {

// What the calls have around the norm: in order, [sum_rows] and add before it, or [sum_rows] before
// its gradient and [add] behind it. Null: there is none, or it is not written.
struct Calls {
  const KernelCall* sum = nullptr;
  const KernelCall* norm = nullptr;
  const KernelCall* add = nullptr;
  void* sum_out = nullptr;
  void* norm_out = nullptr;
  void* add_out = nullptr;
};

Calls TellApart(std::span<const KernelCall> calls, const std::vector<bool>& written) {
  Calls found;
  for (size_t i = 0; i < calls.size(); ++i) {
    const Action action = calls[i].op.action;
    const bool sums = action == Action::kSumRows, adds = action == Action{"add"};
    (sums ? found.sum : adds ? found.add : found.norm) = &calls[i];
    (sums   ? found.sum_out
     : adds ? found.add_out
            : found.norm_out) = written[i] ? calls[i].out[0].data : nullptr;
  }
  return found;
}

// The operand of the add that no call of the chain writes.
const void* AddedTo(const Calls& calls, const void* handed_on) {
  const auto& in = calls.add->in;
  return in[0].data == handed_on ? in[1].data : in[0].data;
}

// Calls launch(the Chain of what is summed).
template <typename Launch>
cudaError_t WithBlocks(const Calls& calls, const void* alone, const Launch& launch) {
  const auto with = [&](auto most) {
    Chain<most.value> chain;
    chain.data = alone;
    if (calls.sum != nullptr) {
      const DeviceView& blocks = calls.sum->in[0];
      chain.data = blocks.data;
      chain.stride = blocks.dims[0].stride;
      chain.blocks = static_cast<int>(blocks.dims[0].size);
      chain.sum = calls.sum_out;
    }
    return launch(chain);
  };
  const int64_t blocks = calls.sum == nullptr ? 1 : calls.sum->in[0].dims[0].size;
  if (blocks <= 1) return with(Constant<1>{});
  if (blocks <= 2) return with(Constant<2>{});
  if (blocks <= 4) return with(Constant<4>{});
  return blocks <= 8 ? with(Constant<8>{}) : cudaErrorInvalidValue;
}

template <typename T>
cudaError_t Norm(const Calls& calls, cudaStream_t stream) {
  const KernelCall& norm = *calls.norm;
  const Rows<3> rows = NormRows(norm);
  if (!rows.even || rows.length > kMostHeld * kThreads * (16 / int64_t{sizeof(T)})) {
    return cudaErrorInvalidValue;
  }
  const auto& in = calls.add->in;
  const void* summed = calls.sum != nullptr ? calls.sum->out[0].data : in[0].data;
  return WithBlocks(calls, summed, [&](auto chain) {
    chain.added = AddedTo(calls, summed);
    chain.total = calls.add_out;
    return LaunchNorm<T>(norm, rows, chain, stream);
  });
}

template <typename T>
cudaError_t NormGrad(const Calls& calls, cudaStream_t stream) {
  const KernelCall& norm = *calls.norm;
  Rows<4> rows = GradRows(norm);
  if (!rows.even || rows.length > kMostHeld * kThreads * (16 / int64_t{sizeof(T)})) {
    return cudaErrorInvalidValue;
  }
  rows.data[3] = calls.norm_out;
  const cudaError_t error = WithBlocks(calls, norm.in[3].data, [&](auto chain) {
    if (calls.add != nullptr) {
      chain.added = AddedTo(calls, norm.out[0].data);
      chain.total = calls.add_out;
    }
    return LaunchStagedGrad<T>(norm, rows, chain, stream);
  });
  return error != cudaSuccess ? error : SumGains<T, 16 / sizeof(T)>(norm, rows, stream);
}

}  // namespace

cudaError_t EnqueueNorm(std::span<const KernelCall> calls, const std::vector<bool>& written,
                        cudaStream_t stream) {
  const Calls found = TellApart(calls, written);
  return Dispatch(found.norm->in[0].dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_same_v<T, double>) {
      return cudaErrorInvalidValue;
    } else {
      return found.norm->op.action == Action{"rms_norm"} ? Norm<T>(found, stream)
                                                         : NormGrad<T>(found, stream);
    }
  });
}

}  // namespace tp::nccl
