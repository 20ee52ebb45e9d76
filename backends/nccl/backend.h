// The GPU backend: cuBLASLt, collectives over peer memory or by NCCL, a few kernels, the whole step
// one CUDA graph.
//
// A rank is a GPU with two streams: matrix products and elementwise kernels on one, collectives on
// the other one, at high priority. The ranks are threads of one process (rank r on device r)
// or, where a launcher's environment says so (launch.h), one process each. Built without
// --config=cuda, MakeBackend says that this build has no CUDA (unavailable.cc).
//
// Bytes that OpRecord counts are what the transfers of a collective over peer memory add up to.
// NCCL does not count; of its collectives they are the volumes of tp/core/collective.h.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string_view>

#include "tp/core/status.h"
#include "tp/runtime/backend.h"

namespace tp::nccl {

// Which collectives run over the GPUs' access to one another's memory (peer_collective.h), where
// all of a group have it, and not by NCCL.
enum class Peers {
  kAuto,    // all, in the way that was fastest where it was measured
  kNever,   // none
  kDirect,  // all, everybody sending to everybody: for what is small
  kMedium,  // all, by two steps, writes and sums of shares: for what is neither
  kBulk,    // all, by copies and sums of shares: for what is large
};

constexpr std::string_view Name(Peers peers) {
  constexpr std::string_view kNames[] = {"auto", "never", "direct", "medium", "bulk"};
  return kNames[static_cast<int>(peers)];
}
// Nothing for a text that is no name.
constexpr std::optional<Peers> ParsePeers(std::string_view text) {
  for (Peers peers : {Peers::kAuto, Peers::kNever, Peers::kDirect, Peers::kMedium, Peers::kBulk}) {
    if (text == Name(peers)) return peers;
  }
  return std::nullopt;
}

struct Options {
  std::chrono::milliseconds deadline{30000};  // of every wait
  bool graph = true;        // capture the step once and replay it; otherwise launch op by op
  bool tf32 = false;        // let fp32 matrix products round their inputs to tf32
  bool gemm_search = true;  // measure cuBLASLt's candidates; otherwise take its first
  // Products in the invariant order of sums, in bf16 and fp16: by tensor cores, or, slower by far,
  // with the bits of the CPU backend.
  bool tensor_cores = true;
  Peers peers = Peers::kAuto;
  // Let rank r use GPU r modulo their number, where there are fewer GPUs than ranks. For tests of
  // what succeeds: ranks take turns, NCCL refuses to run, nothing can be profiled, and after a
  // failure one may wait for ever for a GPU on which another one's kernel waits for it. So it may
  // where CUDA loads a kernel when it is first launched, and ranks launch different ones:
  // CUDA_MODULE_LOADING=EAGER loads all when CUDA starts, which takes seconds and memory.
  // UNAVAILABLE where one process gives a GPU more ranks than find room at the same time.
  bool share_gpus = false;
  LowerOptions lower{.sum_part_bytes = int64_t{8} << 20};
};

// Errors: UNAVAILABLE where this build has no CUDA; INVALID_ARGUMENT for a launcher's environment
// that contradicts itself. Whether there are GPUs is Backend::Check's to say.
StatusOr<std::unique_ptr<Backend>> MakeBackend(const Options& options);

}  // namespace tp::nccl
