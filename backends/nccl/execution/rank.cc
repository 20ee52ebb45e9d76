#include "backends/nccl/execution/rank.h"

#include <glog/logging.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <utility>

#include "backends/nccl/control/wait.h"
#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what cuBLAS' manual asks for on Hopper
constexpr std::chrono::seconds kDrain(10);
constexpr int kPollsPerErrorCheck = 64;

}  // namespace

StatusOr<std::unique_ptr<Rank>> Rank::Create(int device, Control& control, const Options& options) {
  std::unique_ptr<Rank> rank(new Rank(control, options));
  TP_RETURN_IF_ERROR(rank->Init(device));
  return rank;
}

Status Rank::Init(int device) {
  TP_CUDA(cudaSetDevice(device));
  int least = 0;
  TP_CUDA(cudaDeviceGetStreamPriorityRange(&least, nullptr));
  TP_CUDA(cudaStreamCreateWithPriority(&streams_[static_cast<int>(Stream::kCompute)],
                                       cudaStreamNonBlocking, least));
  int devices = 0;
  TP_CUDA(cudaGetDeviceCount(&devices));
  shares_gpus_ = options_.share_gpus && control_.world() > devices;
  TP_CUBLAS(cublasLtCreate(&gemm_context_.handle));
  TP_CUDA(cudaMalloc(&gemm_context_.workspace, kWorkspaceBytes));
  gemm_context_.workspace_bytes = kWorkspaceBytes;
  void* stop = nullptr;
  TP_CUDA(cudaHostAlloc(&stop, sizeof(*stop_), cudaHostAllocMapped | cudaHostAllocPortable));
  stop_ = static_cast<unsigned*>(stop);
  *stop_ = 0;
  return OkStatus();
}

Status Rank::MakeStream(Stream stream) { return MakeStream(&streams_[static_cast<int>(stream)]); }

Status Rank::MakeTellStream() { return MakeStream(&tell_stream_); }

Status Rank::MakeStream(cudaStream_t* stream) {
  if (*stream != nullptr) return OkStatus();
  if (shares_gpus_) {
    *stream = streams_[static_cast<int>(Stream::kCompute)];
    return OkStatus();
  }
  int greatest = 0;
  TP_CUDA(cudaDeviceGetStreamPriorityRange(nullptr, &greatest));
  TP_CUDA(cudaStreamCreateWithPriority(stream, cudaStreamNonBlocking, greatest));
  return OkStatus();
}

Rank::~Rank() {
  // What can't be freed safely is left to the end of the process.
  if (!retired_arenas_.empty() && (failed_ || !FreeRetired().ok())) {
    for (const std::unique_ptr<Arena>& arena : retired_arenas_) arena->Abandon();
  }
  groups_.clear();
  world_.reset();
  // Freeing waits for the device, and a device that does not come to rest would hold us here.
  if (!idle_) return;
  if (stop_ != nullptr) cudaFreeHost(stop_);
  if (gemm_context_.workspace != nullptr) cudaFree(gemm_context_.workspace);
  if (gemm_context_.handle != nullptr) cublasLtDestroy(gemm_context_.handle);
  for (Stream stream : AllStreams()) {
    const bool own = stream == Stream::kCompute || !shares_gpus_;
    if (own && this->stream(stream) != nullptr) cudaStreamDestroy(this->stream(stream));
  }
  if (tell_stream_ != nullptr && !shares_gpus_) cudaStreamDestroy(tell_stream_);
}

void Rank::Retire(std::unique_ptr<Arena> arena, std::unique_ptr<PeerMemory> memory) {
  if (arena != nullptr) retired_arenas_.push_back(std::move(arena));
  if (memory != nullptr) retired_memories_.push_back(std::move(memory));
}

Status Rank::FreeRetired() {
  retired_memories_.clear();
  TP_RETURN_IF_ERROR(control_.Gather("", Receivers::kEveryone, options_.deadline).status());
  retired_arenas_.clear();
  return OkStatus();
}

StatusOr<Communicator*> Rank::CommunicatorOf(const std::vector<int>& group) {
  for (const Group& known : groups_) {
    if (known.members == group) return known.communicator;
  }
  if (world_ == nullptr) {
    TP_ASSIGN_OR_RETURN(world_, Communicator::OfWorld(control_, options_.deadline));
  }
  std::vector<int> everyone(control_.world());
  std::iota(everyone.begin(), everyone.end(), 0);
  Group made{group, nullptr, world_.get()};
  if (group != everyone) {
    TP_ASSIGN_OR_RETURN(made.own, world_->Split(group[0], MemberOf(group, control_.rank())));
    made.communicator = made.own.get();
  }
  groups_.push_back(std::move(made));
  return groups_.back().communicator;
}

StatusOr<bool> Rank::StreamsIdle() const {
  for (cudaStream_t stream : streams_) {
    if (stream == nullptr) continue;
    const cudaError_t state = cudaStreamQuery(stream);
    if (state == cudaErrorNotReady) return false;
    TP_RETURN_IF_ERROR(FromCuda(state, "cudaStreamQuery"));
  }
  return true;
}

Status Rank::Wait(std::string_view what, const std::function<StatusOr<bool>()>& done) {
  if (failed_) return control_.Failure();
  int polls = 0;
  const Status status = WaitUntil(control_, options_.deadline, what, [&]() -> StatusOr<bool> {
    StatusOr<bool> is_done = done();
    if (!is_done.ok() || *is_done) return is_done;
    if (++polls % kPollsPerErrorCheck == 0) {
      if (world_ != nullptr) TP_RETURN_IF_ERROR(world_->AsyncError());
      for (const Group& group : groups_) {
        TP_RETURN_IF_ERROR(group.communicator->AsyncError());
      }
    }
    return false;
  });
  return status.ok() ? status : Fail(status);
}

Status Rank::WaitForStreams(std::string_view what) {
  return Wait(what, [this] { return StreamsIdle(); });
}

Status Rank::Fail(const Status& error) {
  if (error.code() == StatusCode::kInternal && control_.world() > 1) AwaitEarlierFailure(control_);
  control_.Fail(error);
  if (failed_) return control_.Failure();
  failed_ = true;
  std::atomic_ref<unsigned>(*stop_).store(1);
  // An abort sets its flag, at which kernels end, and then waits until no graph refers to the
  // communicator; destroying a graph that runs waits for its kernels. So all of it goes on at the
  // same time, on threads that are left behind where it does not end.
  const auto left = std::make_shared<std::atomic<int>>(0);
  const auto at_once = [&](std::function<void()> end) {
    ++*left;
    std::thread([left, end = std::move(end)] {
      end();
      --*left;
    }).detach();
  };
  for (Group& group : groups_) {
    if (group.own != nullptr) at_once([comm = group.own->Release()] { Communicator::Abort(comm); });
  }
  if (world_ != nullptr) at_once([comm = world_->Release()] { Communicator::Abort(comm); });
  for (cudaGraphExec_t* graph : graphs_) {
    if (*graph == nullptr) continue;
    at_once([executable = std::exchange(*graph, nullptr)] { cudaGraphExecDestroy(executable); });
  }
  const auto until = std::chrono::steady_clock::now() + kDrain;
  idle_ = false;
  while (!idle_ && std::chrono::steady_clock::now() < until) {
    if (*left == 0) {
      const StatusOr<bool> idle = StreamsIdle();
      idle_ = !idle.ok() || *idle;  // after an error nothing runs any more
    }
    if (!idle_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  LOG_IF(ERROR, !idle_) << "rank " << control_.rank() << ": the GPU did not stop within "
                        << kDrain.count() << " s of the abort; its memory is left behind";
  return control_.Failure();
}

void Rank::Drop(cudaGraphExec_t* graph) {
  if (*graph != nullptr) cudaGraphExecDestroy(std::exchange(*graph, nullptr));
  graphs_.erase(graph);
}

}  // namespace tp::nccl
