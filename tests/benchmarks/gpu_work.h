// Work: ops with tensors of their own, enqueued as one and measured as one, and the bytes that they
// have to move.
#pragma once

#include <cuda_runtime_api.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/grouped.h"
#include "tests/benchmarks/gpu_timing.h"
#include "tp/core/dtype.h"
#include "tp/program/attributes.h"
#include "tp/schedule/schedule.h"

namespace tp::nccl {

using Sizes = std::vector<int64_t>;
using Views = std::vector<DeviceView>;

// How ops go to the GPU: one by itself, or several in one of the ways of grouped.h.
enum class Together { kAlone, kUpdates, kSquares, kNorm };

// Ops that are enqueued as one, on tensors of their own.
class Work : public Tensors {
 public:
  // Alone, unless told so.
  void Go(Together together) { together_ = together; }
  // An op of these views, of which `written` says whether anybody reads the first output.
  void Add(const char* action, const Attributes& attributes, Views in, Views out,
           bool written = true) {
    ScheduledOp& op = ops_.emplace_back();
    op.action = Action{action};
    op.attributes = attributes;
    op.letters = letters_;
    CHECK(FindKernel(op.action) != nullptr) << action;
    calls_.push_back(KernelCall{.op = op, .in = std::move(in), .out = std::move(out)});
    written_.push_back(written);
  }
  // Says that they must be read, or written.
  void Moves(const Views& views) {
    for (const DeviceView& view : views) bytes_ += view.size() * SizeOf(view.dtype);
  }
  // An op that reads all that it takes and writes all that it gives.
  void AddWhole(const char* action, const Attributes& attributes, const Views& in,
                const Views& out) {
    Moves(in);
    Moves(out);
    Add(action, attributes, in, out);
  }
  // Which part of a letter the ops added next have: the first `length` indices of `whole`.
  void SetLetter(char letter, int64_t length, int64_t whole) {
    letters_.push_back(LetterPart{.letter = letter, .length = length, .whole = whole});
  }

  Views Several(int count, const Sizes& sizes) {
    Views views;
    for (int i = 0; i < count; ++i) views.push_back(Make(sizes));
    return views;
  }
  DeviceView Same(const Sizes& sizes, double value, DType dtype) {
    int64_t count = 1;
    for (int64_t size : sizes) count *= size;
    return Of(sizes, dtype, std::vector<double>(count, value));
  }

  int64_t bytes() const { return bytes_; }
  ScratchSize scratch() const {
    if (together_ == Together::kSquares) return SquaresScratch(calls_);
    ScratchSize most;
    for (const KernelCall& call : calls_) {
      const Kernel* kernel = FindKernel(call.op.action);
      if (kernel->scratch == nullptr) continue;
      const ScratchSize size = kernel->scratch(call);
      most.partial_bytes = std::max(most.partial_bytes, size.partial_bytes);
      most.counters = std::max(most.counters, size.counters);
    }
    return most;
  }
  void UseScratch(const Scratch& scratch) {
    for (KernelCall& call : calls_) call.scratch = scratch;
  }
  cudaError_t Enqueue(cudaStream_t stream) const {
    switch (together_) {
      case Together::kUpdates:
        return EnqueueUpdates(calls_, stream);
      case Together::kSquares:
        return EnqueueSquares(calls_, stream);
      case Together::kNorm:
        return EnqueueNorm(calls_, written_, stream);
      case Together::kAlone:
        break;
    }
    CHECK_EQ(calls_.size(), 1u);
    return FindKernel(calls_[0].op.action)->enqueue(calls_[0], stream);
  }

 private:
  std::deque<ScheduledOp> ops_;
  std::vector<KernelCall> calls_;
  std::vector<bool> written_;
  std::vector<LetterPart> letters_;
  Together together_ = Together::kAlone;
  int64_t bytes_ = 0;
};

}  // namespace tp::nccl
