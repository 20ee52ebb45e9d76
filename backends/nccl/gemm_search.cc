#include "backends/nccl/gemm_search.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

constexpr double kLongEnough = 1e-3;  // seconds of work that an event times well
constexpr int kMostRepeats = 20;

// A graph of `repeats` runs, and the events around its replay.
class RepeatGraph {
 public:
  RepeatGraph() = default;
  ~RepeatGraph() {
    if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
    for (cudaEvent_t event : events_) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }
  RepeatGraph(const RepeatGraph&) = delete;
  RepeatGraph& operator=(const RepeatGraph&) = delete;

  Status Capture(cudaStream_t stream, int repeats,
                 const std::function<Status(cudaStream_t)>& enqueue) {
    for (cudaEvent_t& event : events_) TP_CUDA(cudaEventCreate(&event));
    TP_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    Status status;
    for (int i = 0; i < repeats && status.ok(); ++i) status = enqueue(stream);
    const cudaError_t ended = cudaStreamEndCapture(stream, &graph_);
    TP_RETURN_IF_ERROR(status);
    TP_RETURN_IF_ERROR(FromCuda(ended, "cudaStreamEndCapture"));
    TP_CUDA(cudaGraphInstantiate(&exec_, graph_, 0));
    return OkStatus();
  }

  // Seconds of one replay.
  StatusOr<double> Replay(cudaStream_t stream) {
    TP_CUDA(cudaEventRecord(events_[0], stream));
    TP_CUDA(cudaGraphLaunch(exec_, stream));
    TP_CUDA(cudaEventRecord(events_[1], stream));
    TP_CUDA(cudaEventSynchronize(events_[1]));
    float milliseconds = 0;
    TP_CUDA(cudaEventElapsedTime(&milliseconds, events_[0], events_[1]));
    return milliseconds * 1e-3;
  }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
  cudaEvent_t events_[2] = {};
};

// One rank's measurements of one product, as they travel.
struct Measured {
  std::string signature;
  std::vector<double> seconds;  // by candidate
};

std::string Pack(const std::vector<Measured>& all) {
  std::string bytes;
  const auto put = [&](const void* data, size_t size) {
    bytes.append(static_cast<const char*>(data), size);
  };
  for (const Measured& one : all) {
    const uint64_t sizes[2] = {one.signature.size(), one.seconds.size()};
    put(sizes, sizeof(sizes));
    put(one.signature.data(), one.signature.size());
    put(one.seconds.data(), one.seconds.size() * sizeof(double));
  }
  return bytes;
}

std::vector<Measured> Unpack(const std::string& bytes) {
  std::vector<Measured> all;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t sizes[2];
    std::memcpy(sizes, bytes.data() + at, sizeof(sizes));
    at += sizeof(sizes);
    Measured one{bytes.substr(at, sizes[0]), std::vector<double>(sizes[1])};
    at += sizes[0];
    std::memcpy(one.seconds.data(), bytes.data() + at, sizes[1] * sizeof(double));
    at += sizes[1] * sizeof(double);
    all.push_back(std::move(one));
  }
  return all;
}

StatusOr<Measured> Measure(Gemm& gemm, cudaStream_t stream) {
  Measured measured{gemm.signature(), {}};
  for (int i = 0; i < gemm.candidates(); ++i) {
    gemm.Choose(i);
    const StatusOr<double> seconds =
        TimeInGraph(stream, [&](cudaStream_t s) { return gemm.Run(s); });
    // A candidate that cuBLASLt then refuses to run is no choice, and no reason to stop.
    measured.seconds.push_back(seconds.ok() ? *seconds : std::numeric_limits<double>::infinity());
    if (!seconds.ok() && cudaGetLastError() != cudaSuccess) return seconds.status();
  }
  return measured;
}

}  // namespace

StatusOr<double> TimeInGraph(cudaStream_t stream,
                             const std::function<Status(cudaStream_t)>& enqueue) {
  TP_RETURN_IF_ERROR(enqueue(stream));  // loads what is loaded on first use, outside of a capture
  RepeatGraph once;
  TP_RETURN_IF_ERROR(once.Capture(stream, 1, enqueue));
  TP_ASSIGN_OR_RETURN(const double rough, once.Replay(stream));
  const int repeats =
      static_cast<int>(std::clamp(kLongEnough / std::max(rough, 1e-6), 1.0, double{kMostRepeats}));
  RepeatGraph graph;
  TP_RETURN_IF_ERROR(graph.Capture(stream, repeats, enqueue));
  TP_RETURN_IF_ERROR(graph.Replay(stream).status());
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 3; ++i) {
    TP_ASSIGN_OR_RETURN(const double seconds, graph.Replay(stream));
    best = std::min(best, seconds / repeats);
  }
  return best;
}

Status ChooseAlgorithms(const std::vector<Gemm*>& gemms, cudaStream_t stream, Control& control,
                        std::chrono::milliseconds deadline) {
  std::vector<Measured> mine;
  for (Gemm* gemm : gemms) {
    TP_ASSIGN_OR_RETURN(Measured measured, Measure(*gemm, stream));
    mine.push_back(std::move(measured));
  }
  TP_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                      control.Gather(Pack(mine), Receivers::kEveryone, deadline));
  std::map<std::string, std::vector<double>> sums;
  for (const std::string& bytes : all) {
    for (const Measured& measured : Unpack(bytes)) {
      std::vector<double>& sum = sums[measured.signature];
      sum.resize(std::max(sum.size(), measured.seconds.size()));
      for (size_t i = 0; i < measured.seconds.size(); ++i) sum[i] += measured.seconds[i];
    }
  }
  for (Gemm* gemm : gemms) {
    const std::vector<double>& sum = sums[gemm->signature()];
    const auto best = std::min_element(sum.begin(), sum.end());
    if (gemm->candidates() > 0) gemm->Choose(static_cast<int>(best - sum.begin()));
  }
  return OkStatus();
}

}  // namespace tp::nccl
