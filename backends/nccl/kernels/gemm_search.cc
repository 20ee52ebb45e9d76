#include "backends/nccl/kernels/gemm_search.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

constexpr double kLongEnough = 1e-3;  // seconds of work that an event times well
constexpr int kMostRepeats = 20;
// A rough look at a candidate: seconds of work, and at most so many runs.
constexpr double kRoughly = 2e-4;
constexpr int kRoughRepeats = 10;
// Times the best: what the first look and the second must not pass for a candidate to be timed
// well.
constexpr double kFar = 3, kNear = 1.15;
constexpr double kShort = 2e-4;      // seconds: products worth trying neighbours for
constexpr int kMostRounds = 2;       // of neighbours
constexpr double kWorthMore = 0.97;  // times the best before: what calls for another round

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

// Seconds by candidate, as they travel.
std::string Pack(const GemmTimes& all) {
  std::string bytes;
  const auto put = [&](const void* data, size_t size) {
    bytes.append(static_cast<const char*>(data), size);
  };
  for (const auto& [signature, seconds] : all) {
    const uint64_t sizes[2] = {signature.size(), seconds.size()};
    put(sizes, sizeof(sizes));
    put(signature.data(), signature.size());
    put(seconds.data(), seconds.size() * sizeof(double));
  }
  return bytes;
}

GemmTimes Unpack(const std::string& bytes) {
  GemmTimes all;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t sizes[2];
    std::memcpy(sizes, bytes.data() + at, sizeof(sizes));
    at += sizeof(sizes);
    std::vector<double>& seconds = all[bytes.substr(at, sizes[0])];
    at += sizes[0];
    seconds.resize(sizes[1]);
    std::memcpy(seconds.data(), bytes.data() + at, sizes[1] * sizeof(double));
    at += sizes[1] * sizeof(double);
  }
  return all;
}

// Seconds of a candidate: those of few runs, unless they are near `best`, the least so far.
StatusOr<double> TimeCandidate(const Gemm& gemm, cudaStream_t stream, double best) {
  const auto enqueue = [&](cudaStream_t s) { return gemm.Run(s); };
  TP_RETURN_IF_ERROR(enqueue(stream));  // loads what is loaded on first use, outside of a capture
  const int repeats = static_cast<int>(std::clamp(kRoughly / best, 1.0, double{kRoughRepeats}));
  RepeatGraph rough;
  TP_RETURN_IF_ERROR(rough.Capture(stream, repeats, enqueue));
  TP_ASSIGN_OR_RETURN(double seconds, rough.Replay(stream));
  if (seconds > repeats * best * kFar) return seconds / repeats;
  TP_ASSIGN_OR_RETURN(seconds, rough.Replay(stream));
  if (seconds > repeats * best * kNear) return seconds / repeats;
  return TimeInGraph(stream, enqueue);
}

// What `times` lacks of the candidates of `gemm`, from `first` on.
Status Measure(Gemm& gemm, cudaStream_t stream, std::vector<double>& times) {
  double best = std::numeric_limits<double>::infinity();
  for (double seconds : times) best = std::min(best, seconds);
  for (int i = static_cast<int>(times.size()); i < gemm.candidates(); ++i) {
    gemm.Choose(i);
    const StatusOr<double> seconds = TimeCandidate(gemm, stream, best);
    // A candidate that cuBLASLt then refuses to run is no choice, and no reason to stop.
    if (!seconds.ok() && cudaGetLastError() != cudaSuccess) return seconds.status();
    times.push_back(seconds.ok() ? *seconds : std::numeric_limits<double>::infinity());
    best = std::min(best, times.back());
  }
  return OkStatus();
}

// The mean over the ranks that have a product, by signature.
StatusOr<GemmTimes> MeanOverRanks(const GemmTimes& mine, Control& control,
                                  std::chrono::milliseconds deadline) {
  TP_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                      control.Gather(Pack(mine), Receivers::kEveryone, deadline));
  GemmTimes means;
  std::map<std::string, int> ranks;
  for (const std::string& bytes : all) {
    for (const auto& [signature, seconds] : Unpack(bytes)) {
      std::vector<double>& sum = means[signature];
      sum.resize(std::max(sum.size(), seconds.size()));
      for (size_t i = 0; i < seconds.size(); ++i) sum[i] += seconds[i];
      ++ranks[signature];
    }
  }
  for (auto& [signature, seconds] : means) {
    for (double& one : seconds) one /= ranks[signature];
  }
  return means;
}

int BestOf(const std::vector<double>& seconds) {
  return static_cast<int>(std::min_element(seconds.begin(), seconds.end()) - seconds.begin());
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
                        std::chrono::milliseconds deadline, GemmTimes& times) {
  std::vector<std::vector<double>> known(gemms.size());  // by product: the candidates measured
  std::vector<double> before(gemms.size(), std::numeric_limits<double>::infinity());
  std::vector<bool> done(gemms.size());
  for (int round = 0; round <= kMostRounds; ++round) {
    GemmTimes mine;
    for (size_t i = 0; i < gemms.size(); ++i) {
      if (done[i] || gemms[i]->candidates() == 0) continue;
      const std::string& signature = gemms[i]->signature();
      std::vector<double>& seconds = times[signature];
      if (seconds.empty()) {
        seconds = known[i];
        TP_RETURN_IF_ERROR(Measure(*gemms[i], stream, seconds));
      }
      mine[signature] = known[i] = seconds;
    }
    TP_ASSIGN_OR_RETURN(const GemmTimes means, MeanOverRanks(mine, control, deadline));
    for (size_t i = 0; i < gemms.size(); ++i) {
      if (done[i] || gemms[i]->candidates() == 0) continue;
      const std::vector<double>& seconds = means.at(gemms[i]->signature());
      const int best = BestOf(seconds);
      const int offered = gemms[i]->candidates();
      gemms[i]->Choose(best);
      done[i] =
          round == kMostRounds || seconds[best] > kShort || seconds[best] > before[i] * kWorthMore;
      before[i] = seconds[best];
      if (!done[i]) gemms[i]->OfferNeighbours(best);
      if (gemms[i]->candidates() == offered) done[i] = true;
      if (!done[i]) continue;
      VLOG(1) << fmt::format("rank {}: {:.2f} us, best of {}: {}", control.rank(),
                             seconds[best] * 1e6, seconds.size(), gemms[i]->Describe(best));
    }
  }
  return OkStatus();
}

}  // namespace tp::nccl
