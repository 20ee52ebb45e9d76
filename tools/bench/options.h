// What the bench is asked to do. The flags that ask it are in flags.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "backends/nccl/backend.h"
#include "sim/collectives/algorithm.h"
#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/core/sum_order.h"
#include "tp/layers/linear.h"

namespace tp::bench {

enum class VerifyMode { kAuto, kFull, kOff };

struct BenchOptions {
  std::string backend = "sim";  // sim, nccl
  std::vector<LinearMode> modes = {LinearMode::kRow, LinearMode::kColumn};
  int tp = 0;  // 0: what the backend has, over dp
  int dp = 1;
  int64_t tokens = 20;
  int64_t in_features = 1000;
  int64_t out_features = 1000;
  // Which of these were asked for; the others may be those of tensors in `load`.
  bool tokens_given = false;
  bool in_features_given = false;
  bool out_features_given = false;
  DType dtype = DType::kFloat32;
  bool tf32 = false;  // fp32 tensors whose products round their operands to tf32
  int steps = 10;
  int warmup = 2;
  double learning_rate = 0.01;
  uint64_t seed = 0;
  sim::Algorithm algorithm = sim::Algorithm::kAuto;
  SumOrder sum_order = SumOrder::kFast;  // --reduction
  bool seeded = false;                   // the simulator's scheduler
  uint64_t scheduler_seed = 0;
  bool graph = true;         // nccl: the step as one CUDA graph
  bool gemm_search = true;   // nccl: measure the candidates for each product
  bool tensor_cores = true;  // nccl: of 16-bit products in the invariant order, too
  nccl::Peers peers = nccl::Peers::kAuto;
  int64_t sum_part_bytes = -1;  // LowerOptions::sum_part_bytes; -1: the backend's own
  std::chrono::milliseconds deadline{30000};
  bool floor = true;     // also time the matrix products alone
  bool peak = false;     // also time a large product on all ranks: the machine's peak
  bool speedup = false;  // also time the layer with tp 1
  VerifyMode verify = VerifyMode::kAuto;
  bool hold_all_steps = false;  // one by one, rather than some of them: see watch.h
  std::string json;             // paths: "" where not asked for
  std::string load;
  std::string dump;
  bool profile = false;
  std::string trace_dir;  // where the traces go; asked for by `profile`
  bool verbose = false;   // tables also of what is as it must be
};

// "fp32", or "tf32": the spelling of --dtype.
std::string DTypeName(const BenchOptions& options);

}  // namespace tp::bench
