// Chooses the fastest algorithm for each matrix product by measuring, alike on all ranks.
//
// Every candidate is timed in a CUDA graph of several runs, as it will run in the step: roughly at
// first, and well where it is near the best. Ranks add up what they measured for equal products, so
// that equal products run the same algorithm everywhere and replicas keep the same bits. Then
// neighbours of the best are tried, and theirs, where the product is short: there cuBLASLt's
// guesses are far from its best, and a try costs little. What was measured once is not measured
// again. The products write their outputs.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "backends/nccl/control/control.h"
#include "backends/nccl/kernels/gemm.h"
#include "tp/core/status.h"

namespace tp::nccl {

// Seconds that one `enqueue` takes on `stream`, once warm: the mean over a graph of several.
StatusOr<double> TimeInGraph(cudaStream_t stream,
                             const std::function<Status(cudaStream_t)>& enqueue);

// What this rank measured: seconds by candidate, by the product's signature.
using GemmTimes = std::map<std::string, std::vector<double>>;

// To be called by all ranks, each with its products in the same order. Nothing else should run on
// the device meanwhile. `times` is of the same device, and grows. GLOG_v=1 shows what was chosen.
// Errors: a launch's; another rank's.
Status ChooseAlgorithms(const std::vector<Gemm*>& gemms, cudaStream_t stream, Control& control,
                        std::chrono::milliseconds deadline, GemmTimes& times);

}  // namespace tp::nccl
