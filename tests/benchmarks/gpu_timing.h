// What benchmarks on one GPU share: tensors, scratch memory, and the time that a call takes as one
// of several in a graph. What CUDA refuses ends the program.
#pragma once

#include <cuda_runtime_api.h>
#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backends/nccl/kernels/device_view.h"
#include "backends/nccl/kernels/kernels.h"
#include "tp/core/dtype.h"

#define TP_CHECK_CUDA(call) CHECK_EQ(call, cudaSuccess) << #call

namespace tp::nccl {

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

// Packed tensors, each in memory of its own, which is there as long as this lives.
class Tensors {
 public:
  // That looks like data.
  DeviceView Make(const std::vector<int64_t>& sizes, DType dtype = DType::kBFloat16) {
    const DeviceView view = Unwritten(sizes, dtype);
    TP_CHECK_CUDA(FillNoise(view.data, dtype, view.size(), nullptr));
    return view;
  }
  DeviceView Zeros(const std::vector<int64_t>& sizes, DType dtype) {
    const DeviceView view = Unwritten(sizes, dtype);
    TP_CHECK_CUDA(cudaMemset(view.data, 0, view.size() * SizeOf(dtype)));
    return view;
  }
  DeviceView Of(const std::vector<int64_t>& sizes, DType dtype, const std::vector<double>& values) {
    const DeviceView view = Unwritten(sizes, dtype);
    std::vector<std::byte> bytes(view.size() * SizeOf(dtype));
    EncodeFromDouble(dtype, values, bytes);
    TP_CHECK_CUDA(cudaMemcpy(view.data, bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
    return view;
  }

 private:
  DeviceView Unwritten(const std::vector<int64_t>& sizes, DType dtype) {
    DeviceView view{nullptr, dtype};
    int64_t stride = 1;
    for (int64_t size : sizes) stride *= size;
    memory_.push_back(std::make_unique<Memory>(stride * SizeOf(dtype)));
    view.data = memory_.back()->data();
    for (int64_t size : sizes) view.dims.push_back({size, stride /= size});
    return view;
  }

  std::vector<std::unique_ptr<Memory>> memory_;
};

// As kernels want it: the counters are zero.
class ScratchMemory {
 public:
  explicit ScratchMemory(const ScratchSize& size)
      : partials_(size.partial_bytes), counters_(size.counters * int64_t{sizeof(unsigned)}) {
    TP_CHECK_CUDA(cudaMemset(counters_.data(), 0, size.counters * sizeof(unsigned)));
  }
  Scratch get() const { return {partials_.data(), static_cast<unsigned*>(counters_.data())}; }

 private:
  const Memory partials_, counters_;
};

// Milliseconds from beginning to end of what enqueue(stream) puts on a stream, the least of so many
// rounds.
template <typename Enqueue>
double BestMs(int rounds, cudaStream_t stream, const Enqueue& enqueue) {
  cudaEvent_t begin = nullptr, end = nullptr;
  TP_CHECK_CUDA(cudaEventCreate(&begin));
  TP_CHECK_CUDA(cudaEventCreate(&end));
  float best = HUGE_VALF;
  for (int round = 0; round < rounds; ++round) {
    TP_CHECK_CUDA(cudaEventRecord(begin, stream));
    enqueue(stream);
    TP_CHECK_CUDA(cudaEventRecord(end, stream));
    TP_CHECK_CUDA(cudaStreamSynchronize(stream));
    float elapsed = 0;
    TP_CHECK_CUDA(cudaEventElapsedTime(&elapsed, begin, end));
    best = std::min(best, elapsed);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return best;
}

// Milliseconds a call, of the fastest of so many rounds of a graph of enqueue(i, stream), which
// returns CUDA's error, for i from 0 to `calls`. One call goes before it: what it loads is no part
// of a graph.
template <typename Enqueue>
double BestMsInGraph(int calls, int rounds, const Enqueue& enqueue) {
  TP_CHECK_CUDA(cudaDeviceSynchronize());  // what fills memory is on another stream
  cudaStream_t stream = nullptr;
  TP_CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  TP_CHECK_CUDA(enqueue(0, stream));
  TP_CHECK_CUDA(cudaStreamSynchronize(stream));
  TP_CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < calls; ++i) TP_CHECK_CUDA(enqueue(i, stream));
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  TP_CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
  TP_CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
  const double best = BestMs(
      rounds, stream, [&](cudaStream_t on) { TP_CHECK_CUDA(cudaGraphLaunch(executable, on)); });
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return best / calls;
}

}  // namespace tp::nccl
