// A timeline as Chrome's trace event format (JSON), which Perfetto and TensorBoard's profiler
// plugin open.
//
// Sources: "Trace Event Format" (the Chromium project); what PyTorch's Kineto writes; and the
// parser of torch-tb-profiler 0.4.3, which joins an op to its call of the runtime by `External id`
// and that to its kernels by `correlation`, and knows a call of the runtime by the category
// `runtime` alone.
//
// Tracks: the rank's thread (`ProfilerStep#N`, barrier, EnqueueStep, Synchronize), and each stream
// (phases, waits, kernels). An op's own slice lies where the work of the op is done on the host: on
// the stream of a CPU worker that runs it, on the rank's thread where that launches it on a GPU. An
// arrow leads from an op's enqueueing to its first kernel. Collectives have the names that the
// plugin looks for: `nccl:` on GPUs, `gloo:` on CPU workers, whatever library it was.
//
// Times are microseconds of std::chrono::steady_clock, measured; the trace says so.
#pragma once

#include <string>

#include "tp/observe/timeline.h"

namespace tp {

std::string ToChromeTrace(const Timeline& timeline);

}  // namespace tp
