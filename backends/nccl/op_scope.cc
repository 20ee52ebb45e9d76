#include "backends/nccl/op_scope.h"

#include <nvtx3/nvToolsExt.h>

#include <algorithm>
#include <chrono>
#include <string>

namespace tp::nccl {
namespace {

thread_local std::vector<OpNote>* noted = nullptr;

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The nodes that the capture under way on `stream` has so far; none where there is no capture. What
// fails here leaves kernels without an op, which the profiler reports.
std::vector<cudaGraphNode_t> NodesOfCapture(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cudaGraph_t graph = nullptr;
  if (cudaStreamGetCaptureInfo(stream, &status, nullptr, &graph) != cudaSuccess) return {};
  if (status != cudaStreamCaptureStatusActive) return {};
  size_t count = 0;
  if (cudaGraphGetNodes(graph, nullptr, &count) != cudaSuccess) return {};
  std::vector<cudaGraphNode_t> nodes(count);
  if (cudaGraphGetNodes(graph, nodes.data(), &count) != cudaSuccess) return {};
  return nodes;
}

}  // namespace

PhaseScope::~PhaseScope() {
  if (entered_) nvtxRangePop();
}

void PhaseScope::Enter(Phase phase) {
  if (entered_ && phase == phase_) return;
  if (entered_) nvtxRangePop();
  nvtxRangePushA(std::string(Name(phase)).c_str());
  entered_ = true;
  phase_ = phase;
}

OpScope::OpScope(int index, const ScheduledOp& op, cudaStream_t stream)
    : index_(index), stream_(stream) {
  nvtxRangePushA(op.name.c_str());
  if (noted != nullptr) (*noted)[static_cast<size_t>(index)].begin_ns = NowNs();
}

OpScope::~OpScope() {
  nvtxRangePop();
  if (noted == nullptr) return;
  OpNote& note = (*noted)[static_cast<size_t>(index_)];
  note.end_ns = NowNs();
  note.nodes = NodesOfCapture(stream_);
  std::erase_if(note.nodes, [this](cudaGraphNode_t node) {
    return std::any_of(noted->begin(), noted->begin() + index_, [node](const OpNote& earlier) {
      return std::count(earlier.nodes.begin(), earlier.nodes.end(), node) > 0;
    });
  });
}

void OpScope::NoteIn(std::vector<OpNote>* notes) { noted = notes; }

}  // namespace tp::nccl
