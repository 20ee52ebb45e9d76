// The GPU backend: cuBLASLt, NCCL, a few kernels, the whole step one CUDA graph.
//
// A rank is a GPU with two streams: matrix products and elementwise kernels on one, collectives on
// the other one, at high priority. The ranks are threads of one process (rank r on device r)
// or, where a launcher's environment says so (launch.h), one process each. Built without
// --config=cuda, MakeBackend says that this build has no CUDA (unavailable.cc).
//
// Bytes that OpRecord counts are the volumes of tp/core/collective.h: NCCL moves those and does not
// count itself.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string_view>

#include "tp/core/status.h"
#include "tp/runtime/backend.h"

namespace tp::nccl {

// Which collectives run over NCCL's symmetric windows.
enum class Symmetric {
  kAuto,    // those of a kind and size that gained by it where it was measured; see collectives.h
  kNever,   //
  kAlways,  // all that have such a form
};

constexpr std::string_view Name(Symmetric symmetric) {
  constexpr std::string_view kNames[] = {"auto", "never", "always"};
  return kNames[static_cast<int>(symmetric)];
}
// Nothing for a text that is no name.
constexpr std::optional<Symmetric> ParseSymmetric(std::string_view text) {
  for (Symmetric symmetric : {Symmetric::kAuto, Symmetric::kNever, Symmetric::kAlways}) {
    if (text == Name(symmetric)) return symmetric;
  }
  return std::nullopt;
}

struct Options {
  std::chrono::milliseconds deadline{30000};  // of every wait
  bool graph = true;        // capture the step once and replay it; otherwise launch op by op
  bool tf32 = false;        // let fp32 matrix products round their inputs to tf32
  bool gemm_search = true;  // measure cuBLASLt's candidates; otherwise take its first
  // NCCL's kernels on windows do not look whether they are aborted: where a rank stalls or dies
  // inside of one, the others' GPUs are stuck until their processes end.
  Symmetric symmetric = Symmetric::kNever;
  LowerOptions lower{.sum_part_bytes = int64_t{8} << 20};
  int reserved_sms = 0;  // left free by a matrix product that may run beside a collective
};

// Errors: UNAVAILABLE where this build has no CUDA; INVALID_ARGUMENT for a launcher's environment
// that contradicts itself. Whether there are GPUs is Backend::Check's to say.
StatusOr<std::unique_ptr<Backend>> MakeBackend(const Options& options);

}  // namespace tp::nccl
