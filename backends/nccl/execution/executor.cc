#include "backends/nccl/execution/executor.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "backends/nccl/error.h"
#include "backends/nccl/execution/feeds.h"
#include "backends/nccl/execution/step_plan.h"
#include "backends/nccl/profile/cupti_trace.h"
#include "backends/nccl/profile/gate.h"
#include "backends/nccl/profile/kernel_times.h"
#include "backends/nccl/profile/op_scope.h"
#include "tp/core/clock.h"

namespace tp::nccl {
namespace {

constexpr int64_t kToSeeEveryone = 200'000;  // nanoseconds

class NcclExecutor : public Executor {
 public:
  NcclExecutor(Rank& rank, const Schedule& schedule)
      : rank_(rank), schedule_(schedule), feeds_(rank_, schedule_) {
    for (cudaGraphExec_t& graph : graphs_) rank_.Hold(&graph);
  }

  Status Init() {
    TP_ASSIGN_OR_RETURN(plan_, StepPlan::Build(rank_, schedule_));
    TP_CUDA(cudaEventCreate(&begin_));
    TP_CUDA(cudaEventCreate(&end_));
    TP_CUDA(gate_.Make());
    // A step on zeros leaves zeros. It connects NCCL's peers and loads what is loaded on first use,
    // neither of which can happen in a capture. Nor can kernels be loaded while another rank waits
    // for this one: see LoadPeerKernels.
    TP_RETURN_IF_ERROR(plan_->EnqueueAllButCollectives());
    TP_RETURN_IF_ERROR(rank_.WaitForStreams("the first step without collectives"));
    TP_RETURN_IF_ERROR(
        rank_.control().Gather("", Receivers::kEveryone, rank_.options().deadline).status());
    TP_RETURN_IF_ERROR(plan_->BeginStep(StepKind::kWhole));
    TP_RETURN_IF_ERROR(plan_->Enqueue(StepKind::kWhole));
    TP_RETURN_IF_ERROR(rank_.WaitForStreams("the first step"));
    TP_RETURN_IF_ERROR(plan_->arena().FillWithZeros());
    if (rank_.options().graph) {
      TP_RETURN_IF_ERROR(Capture(StepKind::kWhole, &GraphOf(StepKind::kWhole)));
      TP_RETURN_IF_ERROR(Capture(StepKind::kProductsOnly, &GraphOf(StepKind::kProductsOnly)));
    }
    return rank_.control().Gather("", Receivers::kEveryone, rank_.options().deadline).status();
  }

  ~NcclExecutor() override {
    // What goes wrong here is known to the world (Rank::Wait) and changes nothing any more.
    [[maybe_unused]] const Status idle = rank_.WaitForStreams("the last step");
    for (cudaGraphExec_t& graph : graphs_) rank_.Drop(&graph);
    for (const StepPlan::OpEvents& events : op_events_) {
      cudaEventDestroy(events.begin);
      cudaEventDestroy(events.end);
    }
    for (cudaEvent_t event : {begin_, end_}) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }

  Status Write(BufferId buffer, std::span<const std::byte> bytes) override {
    TP_RETURN_IF_ERROR(PrepareCopy(buffer, bytes.size()));
    TP_CUDA(
        cudaMemcpy(plan_->arena().At(buffer), bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
    return FromCuda(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  }

  Status Read(BufferId buffer, std::span<std::byte> bytes) override {
    TP_RETURN_IF_ERROR(PrepareCopy(buffer, bytes.size()));
    TP_CUDA(
        cudaMemcpy(bytes.data(), plan_->arena().At(buffer), bytes.size(), cudaMemcpyDeviceToHost));
    return OkStatus();
  }

  Status Feed(const Region& region, std::span<const std::byte> bytes) override {
    if (!feeds_.Has(region)) TP_RETURN_IF_ERROR(Synchronize());
    return feeds_.Put(region, bytes, plan_->arena());
  }

  Status EnqueueStep(StepKind kind) override {
    Status status = rank_.control().Failure();  // another rank's, too
    rank_.control().BeginStep();
    if (status.ok()) status = EnqueueTimedStep(kind);
    return status.ok() ? status : rank_.Fail(status);
  }

  Status Synchronize() override {
    if (!pending_) return OkStatus();
    TP_RETURN_IF_ERROR(rank_.Wait("the step", [this]() -> StatusOr<bool> {
      const cudaError_t state = cudaEventQuery(end_);
      if (state == cudaErrorNotReady) return false;
      TP_RETURN_IF_ERROR(FromCuda(state, "cudaEventQuery"));
      return true;
    }));
    seen_to_end_ns_ = HostClock().NowNs();
    pending_ = false;
    return CollectTimes();
  }

  void TimeOps(bool on) override { time_ops_ = on; }
  bool OpTimesAreFree() const override { return false; }
  const StepRecord& LastStep() const override { return last_; }

  Status Profile(bool on) override {
    const Status status = on ? BeginProfile() : EndProfile();
    return status.ok() ? status : rank_.Fail(status.WithContext("profiling"));
  }

  StatusOr<StepRecord> CollectProfile() override {
    StatusOr<StepRecord> record = RecordOfProfile();
    if (!record.ok()) return rank_.Fail(record.status().WithContext("profiling"));
    return record;
  }

  DeviceInfo Device() const override {
    DeviceInfo info;
    info.gpu = true;
    cudaDeviceProp properties;
    if (cudaGetDevice(&info.index) != cudaSuccess ||
        cudaGetDeviceProperties(&properties, info.index) != cudaSuccess) {
      return info;
    }
    info.name = properties.name;
    info.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
    info.compute_major = properties.major;
    info.compute_minor = properties.minor;
    info.multiprocessors = properties.multiProcessorCount;
    return info;
  }

  AllocatedMemory Allocated() const override { return plan_->Allocated(); }

  std::string AlgorithmOf(int index) const override { return plan_->AlgorithmOf(index); }

  int64_t ExpectedBytes(int index) const override { return plan_->StatedBytesOf(index); }

 private:
  cudaGraphExec_t& GraphOf(StepKind kind) { return graphs_[static_cast<int>(kind)]; }

  Status BeginProfile() {
    if (rank_.shares_gpus()) {
      return InvalidArgument("kernels of ranks that share a GPU can't be told apart");
    }
    notes_.assign(schedule_.ops.size() + 1, {});
    profile_began_ns_ = HostClock().NowNs();
    TP_RETURN_IF_ERROR(CuptiTrace::Start());
    profiling_ = true;
    OpScope::NoteIn(&notes_);
    return OkStatus();
  }

  Status EndProfile() {
    profiling_ = false;
    OpScope::NoteIn(nullptr);
    TP_RETURN_IF_ERROR(CuptiTrace::Stop());
    // Until the last one has stopped, nobody may call CUDA.
    return rank_.control().Gather("", Receivers::kEveryone, rank_.options().deadline).status();
  }

  StatusOr<StepRecord> RecordOfProfile() const {
    StepRecord record = last_;
    int device = 0;
    TP_CUDA(cudaGetDevice(&device));
    TP_ASSIGN_OR_RETURN(auto kernels, CuptiTrace::Take(device, profile_began_ns_, notes_));
    CorrectClock(seen_to_end_ns_, kernels);
    std::vector<std::vector<KernelRecord>> awaits = TakeAwaits(kernels);
    CountFromEndOfEarlier(schedule_.ops, kernels);
    record.ops.clear();
    for (size_t i = 0; i < schedule_.ops.size(); ++i) {
      OpRecord op = {record.begin_ns, record.begin_ns, SentBy(static_cast<int>(i))};
      if (!kernels[i].empty()) op.begin_ns = kernels[i].front().begin_ns;
      for (const KernelRecord& kernel : kernels[i]) op.end_ns = std::max(op.end_ns, kernel.end_ns);
      // The first to end knows when the block had come.
      int64_t arrived_ns = std::numeric_limits<int64_t>::max();
      for (const KernelRecord& k : awaits[i]) arrived_ns = std::min(arrived_ns, k.end_ns);
      if (!awaits[i].empty()) op.end_ns = std::max(op.end_ns, arrived_ns);
      record.ops.push_back(op);
      kernels[i].insert(kernels[i].end(), awaits[i].begin(), awaits[i].end());
      record.profile.push_back({notes_[i].begin_ns, notes_[i].end_ns, std::move(kernels[i])});
    }
    for (size_t i = 0; i < schedule_.ops.size(); ++i) {  // a group's time is its last op's
      const int last = plan_->LaunchedWith(static_cast<int>(i));
      if (last == static_cast<int>(i)) continue;
      record.ops[i].begin_ns = record.ops[i].end_ns = record.ops[last].begin_ns;
    }
    return record;
  }

  // Takes away what awaits turns, by turn: launched with the op that needs it, or with the turn.
  std::vector<std::vector<KernelRecord>> TakeAwaits(KernelsByOp& kernels) const {
    std::vector<std::vector<KernelRecord>> awaits(kernels.size());
    for (int i = 0; i < static_cast<int>(schedule_.ops.size()); ++i) {
      const std::vector<int> turns = plan_->IsTurn(i) ? std::vector<int>{i} : plan_->AwaitedWith(i);
      if (turns.empty()) continue;
      const auto taken = std::stable_partition(
          kernels[i].begin(), kernels[i].end(),
          [](const KernelRecord& k) { return k.name.find("ArrivalsKernel") == std::string::npos; });
      awaits[turns.back()].insert(awaits[turns.back()].end(), taken, kernels[i].end());
      kernels[i].erase(taken, kernels[i].end());
    }
    return awaits;
  }

  Status Capture(StepKind kind, cudaGraphExec_t* executable) {
    const cudaStream_t stream = rank_.stream(Stream::kCompute);
    // Other ranks' threads, and NCCL's own, go on calling CUDA meanwhile.
    TP_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    Status enqueued = plan_->BeginStep(kind);
    if (enqueued.ok()) enqueued = plan_->Enqueue(kind);
    cudaGraph_t graph = nullptr;
    const Status ended = FromCuda(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    Status status = enqueued.ok() ? ended : enqueued;
    if (status.ok()) {
      // Without the flag every node would have the compute stream's priority.
      status =
          FromCuda(cudaGraphInstantiate(executable, graph, cudaGraphInstantiateFlagUseNodePriority),
                   "cudaGraphInstantiate");
    }
    if (graph != nullptr) cudaGraphDestroy(graph);
    TP_RETURN_IF_ERROR(status.WithContext("capturing the step as a CUDA graph"));
    TP_CUDA(cudaGraphUpload(*executable, stream));
    return rank_.WaitForStreams("uploading the graph");
  }

  Status PrepareCopy(BufferId buffer, size_t size) {
    const auto buffers = static_cast<BufferId>(schedule_.buffers.size());
    if (buffer < 0 || buffer >= buffers) {
      return InvalidArgument(fmt::format("there is no buffer {} of {}", buffer, buffers));
    }
    const Buffer& meant = schedule_.buffers[buffer];
    if (static_cast<int64_t>(size) != meant.bytes()) {
      return InvalidArgument(
          fmt::format("buffer '{}' has {} bytes, not {}", meant.name, meant.bytes(), size));
    }
    return Synchronize();  // with a deadline, which a copy behind a stuck step would not have
  }

  Status MakeOpEvents() {
    while (op_events_.size() < schedule_.ops.size()) {
      StepPlan::OpEvents events;
      TP_CUDA(cudaEventCreate(&events.begin));
      op_events_.push_back(events);
      TP_CUDA(cudaEventCreate(&op_events_.back().end));
    }
    return OkStatus();
  }

  Status EnqueueTimedStep(StepKind kind) {
    const cudaStream_t stream = rank_.stream(Stream::kCompute);
    const bool time_ops = time_ops_ && kind == StepKind::kWhole;
    const bool op_by_op = time_ops || (profiling_ && kind == StepKind::kWhole);
    if (op_by_op) {
      TP_RETURN_IF_ERROR(Synchronize());  // the gate and the events are one step's
      if (time_ops) TP_RETURN_IF_ERROR(MakeOpEvents());
    }
    if (kind == StepKind::kWhole) TP_RETURN_IF_ERROR(feeds_.EnqueueCopies(plan_->arena()));
    if (op_by_op) {
      TP_RETURN_IF_ERROR(CloseGate(kind, stream));
    } else if (GraphOf(kind) == nullptr) {
      TP_RETURN_IF_ERROR(plan_->BeginStep(kind));
    }
    pending_ = true;
    ops_timed_ = time_ops;
    op_by_op_ = op_by_op;
    handed_over_ns_ = HostClock().NowNs();
    const Status status = EnqueueBetweenEvents(kind, stream);
    gate_.Open();  // after a failure it may still be closed
    return status;
  }

  // Enqueueing takes each rank its own time, and none sees at once that all have come to a barrier:
  // the others would wait that out in a collective. So they agree on a time to begin.
  Status OpenGateTogether() {
    TP_ASSIGN_OR_RETURN(const std::vector<std::string> arrivals,
                        rank_.control().Gather(std::to_string(HostClock().NowNs()),
                                               Receivers::kEveryone, rank_.options().deadline));
    int64_t opening_ns = 0;
    for (const std::string& text : arrivals) {
      int64_t arrived_ns = 0;
      std::from_chars(text.data(), text.data() + text.size(), arrived_ns);
      opening_ns = std::max(opening_ns, arrived_ns);
    }
    opening_ns += kToSeeEveryone;
    // Longer is only what another host's clock is ahead.
    if (opening_ns - HostClock().NowNs() > kToSeeEveryone) opening_ns = 0;
    while (HostClock().NowNs() < opening_ns) continue;
    handed_over_ns_ = HostClock().NowNs();
    gate_.Open();
    return OkStatus();
  }

  Status CloseGate(StepKind kind, cudaStream_t stream) {
    const int64_t begin_ns = HostClock().NowNs();
    TP_CUDA(gate_.CloseOn(stream));
    TP_RETURN_IF_ERROR(plan_->BeginStep(kind));
    if (profiling_) notes_.back() = {begin_ns, HostClock().NowNs()};
    return OkStatus();
  }

  Status EnqueueBetweenEvents(StepKind kind, cudaStream_t stream) {
    if (GraphOf(kind) != nullptr && !op_by_op_) {
      TP_CUDA(cudaEventRecord(begin_, stream));
      TP_CUDA(cudaGraphLaunch(GraphOf(kind), stream));
    } else {
      std::function<Status()> held;
      if (op_by_op_) held = [this] { return OpenGateTogether(); };
      TP_RETURN_IF_ERROR(plan_->Enqueue(kind, ops_timed_ ? &op_events_ : nullptr, begin_, held));
    }
    TP_CUDA(cudaEventRecord(end_, stream));
    return OkStatus();
  }

  // Nanoseconds after the step's beginning.
  StatusOr<int64_t> SinceBegin(cudaEvent_t event) const {
    float milliseconds = 0;
    TP_CUDA(cudaEventElapsedTime(&milliseconds, begin_, event));
    return static_cast<int64_t>(static_cast<double>(milliseconds) * 1e6);
  }

  Status CollectTimes() {
    last_.begin_ns = handed_over_ns_;
    TP_ASSIGN_OR_RETURN(const int64_t duration, SinceBegin(end_));
    last_.end_ns = handed_over_ns_ + duration;
    last_.ops.clear();
    if (!ops_timed_) return OkStatus();
    last_.ops.resize(schedule_.ops.size());
    for (size_t i = 0; i < schedule_.ops.size(); ++i) {
      TP_ASSIGN_OR_RETURN(const int64_t begin, SinceBegin(op_events_[i].begin));
      TP_ASSIGN_OR_RETURN(const int64_t end, SinceBegin(op_events_[i].end));
      last_.ops[i] = {handed_over_ns_ + begin, handed_over_ns_ + end, SentBy(static_cast<int>(i))};
    }
    return OkStatus();
  }

  int64_t SentBy(int index) const {
    const ScheduledOp& op = schedule_.ops[index];
    if (op.action != Action::kCollective) return 0;
    return plan_->BytesSentBy(index, MemberOf(op.group, rank_.control().rank()));
  }

  Rank& rank_;
  const Schedule schedule_;
  std::unique_ptr<StepPlan> plan_;
  Feeds feeds_;
  cudaGraphExec_t graphs_[2] = {};  // by StepKind; null where steps are launched op by op
  bool profiling_ = false;
  int64_t profile_began_ns_ = 0;
  std::vector<OpNote> notes_;  // of the last profiled step: by op, and at last of the gate
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
  std::vector<StepPlan::OpEvents> op_events_;  // by op, once ops were timed
  Gate gate_;
  bool time_ops_ = false;
  bool ops_timed_ = false;  // in the step under way
  // Whether the step under way was launched op by op behind the gate, whatever the options say: its
  // ops are timed or profiled, and begin only when all are enqueued.
  bool op_by_op_ = false;
  bool pending_ = false;
  int64_t handed_over_ns_ = 0;
  int64_t seen_to_end_ns_ = 0;
  StepRecord last_;
};

}  // namespace

StatusOr<std::unique_ptr<Executor>> MakeExecutor(Rank& rank, const Schedule& schedule) {
  auto executor = std::make_unique<NcclExecutor>(rank, schedule);
  const Status status = executor->Init();
  if (!status.ok()) return rank.Fail(status);
  return std::unique_ptr<Executor>(std::move(executor));
}

}  // namespace tp::nccl
