#include "backends/nccl/execution/step_plan.h"

#include <glog/logging.h>

#include <algorithm>
#include <optional>
#include <string>

#include "backends/nccl/error.h"
#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/calls.h"
#include "backends/nccl/kernels/gemm_search.h"
#include "backends/nccl/kernels/grouped.h"
#include "backends/nccl/kernels/looped_gemm.h"
#include "backends/nccl/kernels/views.h"
#include "backends/nccl/profile/op_scope.h"

namespace tp::nccl {
namespace {

constexpr Stream kCompute = Stream::kCompute;
// Each is a few launches and events.
constexpr int kMostHeld = 100;  // ops

int MemberCount(const ScheduledOp& op) { return static_cast<int>(op.group.size()); }

}  // namespace

StatusOr<std::unique_ptr<StepPlan>> StepPlan::Build(Rank& rank, const Schedule& schedule) {
  TP_RETURN_IF_ERROR(CheckKernels(schedule));
  TP_RETURN_IF_ERROR(rank.FreeRetired());
  std::unique_ptr<StepPlan> plan(new StepPlan(rank, schedule));
  plan->groups_ = GroupLaunches(schedule);
  TP_RETURN_IF_ERROR(plan->MakeArena());
  TP_RETURN_IF_ERROR(plan->MakeScratch());
  TP_RETURN_IF_ERROR(plan->MakePeers());
  TP_RETURN_IF_ERROR(plan->PlanTurns());
  TP_RETURN_IF_ERROR(plan->MakeCommunicators());
  TP_RETURN_IF_ERROR(plan->MakeStreams());
  TP_RETURN_IF_ERROR(plan->MakeEvents());
  TP_RETURN_IF_ERROR(plan->MakeLaunches());
  if (rank.options().gemm_search) TP_RETURN_IF_ERROR(plan->SearchGemms());
  TP_RETURN_IF_ERROR(plan->arena_->FillWithZeros());
  // Only now may the others write here.
  TP_RETURN_IF_ERROR(
      rank.control().Gather("", Receivers::kEveryone, rank.options().deadline).status());
  return plan;
}

StepPlan::~StepPlan() {
  for (const auto* events : {&ended_, &begun_, &joins_}) {
    for (cudaEvent_t event : *events) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }
  if (fork_ != nullptr) cudaEventDestroy(fork_);
  rank_.Retire(std::move(arena_), std::move(memory_));
  if (!rank_.idle()) return;
  if (scratch_.partials != nullptr) cudaFree(scratch_.partials);
  if (scratch_.counters != nullptr) cudaFree(scratch_.counters);
  if (gemm_scratch_ != nullptr) cudaFree(gemm_scratch_);
}

// The schedule's buffers, and after them what each collective over peer memory needs besides, and
// the step's number where turns tell of it.
Status StepPlan::MakeArena() {
  std::vector<int64_t> scratch;
  bool any_turn = false;
  for (size_t i = 0; i < schedule_.ops.size(); ++i) {
    const ScheduledOp& op = schedule_.ops[i];
    if (op.action != Action::kCollective) continue;
    collectives_.push_back(static_cast<int>(i));
    const int members = MemberCount(op);
    const PeerAlgorithm algorithm = ChoosePeerAlgorithm(op.call, members, rank_.options().peers);
    any_turn = any_turn || TurnOf(op.call, members) != 0;
    scratch.push_back(rank_.options().peers == Peers::kNever || TotalElements(op.call) == 0
                          ? 0
                          : PeerCollective::ScratchBytes(op.call, members, algorithm));
  }
  if (any_turn) scratch.push_back(sizeof(unsigned));
  TP_ASSIGN_OR_RETURN(arena_, Arena::Create(schedule_, scratch));
  return OkStatus();
}

Status StepPlan::MakeScratch() {
  ScratchSize most;
  const auto take = [&most](const ScratchSize& size) {
    most.partial_bytes = std::max(most.partial_bytes, size.partial_bytes);
    most.counters = std::max(most.counters, size.counters);
  };
  for (const LaunchGroup& group : groups_) {
    if (group.kind == GroupKind::kSquares) take(SquaresScratch(CallsOf(group)));
  }
  size_t gemm_bytes = 0;
  for (const ScheduledOp& op : schedule_.ops) {
    if (op.action == Action::kGemm) {
      const std::optional<ProductViews> views = AsBatch(op);
      if (!views || views->batch.count > 1) continue;  // which are multiplied as they lie
      gemm_bytes = std::max(gemm_bytes, Gemm::ScratchBytes(At(views->a), At(views->b), At(views->c),
                                                           OptionsOfGemms()));
    }
    const Kernel* kernel = FindKernel(op.action);
    if (kernel == nullptr || kernel->scratch == nullptr) continue;
    take(kernel->scratch(CallOf(op)));
  }
  if (gemm_bytes > 0) TP_CUDA(cudaMalloc(&gemm_scratch_, gemm_bytes));
  scratch_bytes_ = static_cast<int64_t>(gemm_bytes);
  if (most.partial_bytes == 0 && most.counters == 0) return OkStatus();
  most.counters = std::max<int64_t>(most.counters, 1);
  void* counters = nullptr;
  TP_CUDA(cudaMalloc(&scratch_.partials, most.partial_bytes));
  TP_CUDA(cudaMalloc(&counters, most.counters * sizeof(unsigned)));
  scratch_.counters = static_cast<unsigned*>(counters);
  scratch_bytes_ += static_cast<int64_t>(most.partial_bytes + most.counters * sizeof(unsigned));
  TP_CUDA(cudaMemset(counters, 0, most.counters * sizeof(unsigned)));
  return OkStatus();
}

Status StepPlan::MakeCommunicators() {
  communicators_.resize(schedule_.ops.size());
  for (size_t i = 0; i < collectives_.size(); ++i) {
    if (over_peers_[i]) continue;
    const int op = collectives_[i];
    TP_ASSIGN_OR_RETURN(communicators_[op], rank_.CommunicatorOf(schedule_.ops[op].group));
  }
  return OkStatus();
}

int StepPlan::LaunchedWith(int op) const {
  for (const LaunchGroup& group : groups_) {
    if (std::ranges::binary_search(group.ops, op)) return group.ops.back();
  }
  return op;
}

std::string StepPlan::AlgorithmOf(int op) const {
  if (communicators_[op] != nullptr) return "nccl";
  const ScheduledOp& scheduled = schedule_.ops[op];
  return std::string(
      Name(ChoosePeerAlgorithm(scheduled.call, MemberCount(scheduled), rank_.options().peers)));
}

int64_t StepPlan::StatedBytesOf(int op) const {
  const ScheduledOp& scheduled = schedule_.ops[op];
  const int members = MemberCount(scheduled);
  return peers_[op] == nullptr
             ? MinimalElementsSent(scheduled.call, members) * SizeOf(scheduled.call.dtype)
             : StatedBytes(scheduled.call, members, peers_[op]->algorithm());
}

int64_t StepPlan::BytesSentBy(int op, int member) const {
  const ScheduledOp& scheduled = schedule_.ops[op];
  return peers_[op] == nullptr
             ? BytesSent(scheduled.call, MemberCount(scheduled), member)
             : BytesSent(scheduled.call, MemberCount(scheduled), member, peers_[op]->algorithm());
}

Status StepPlan::MakeStreams() {
  for (Stream stream : AllStreams()) {
    const bool used = std::ranges::any_of(
        schedule_.ops, [&](const ScheduledOp& op) { return op.stream == stream; });
    if (stream == kCompute || !used) continue;
    TP_RETURN_IF_ERROR(rank_.MakeStream(stream));
    communication_.push_back(stream);
  }
  return OkStatus();
}

Status StepPlan::MakeEvents() {
  ended_.resize(schedule_.ops.size());
  const auto make_ended = [&](int op) {
    if (ended_[op] != nullptr) return OkStatus();
    return FromCuda(cudaEventCreateWithFlags(&ended_[op], cudaEventDisableTiming),
                    "cudaEventCreateWithFlags");
  };
  for (int i = 0; i < static_cast<int>(schedule_.ops.size()); ++i) {
    for (int wait : schedule_.ops[i].waits) TP_RETURN_IF_ERROR(make_ended(wait));
    if (IsTurn(i)) TP_RETURN_IF_ERROR(make_ended(i));
  }
  begun_.resize(schedule_.ops.size());
  goes_after_.assign(schedule_.ops.size(), -1);
  for (int i : collectives_) TP_RETURN_IF_ERROR(LetBegin(i));
  TP_CUDA(cudaEventCreateWithFlags(&fork_, cudaEventDisableTiming));
  joins_.resize(communication_.size() + (has_turns_ ? 1 : 0));
  for (cudaEvent_t& join : joins_) {
    TP_CUDA(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
  }
  return OkStatus();
}

Status StepPlan::MakeLaunches() {
  for (size_t i = 0; i < schedule_.ops.size(); ++i) {
    StatusOr<Launch> launch = MakeLaunch(static_cast<int>(i));
    if (!launch.ok())
      return launch.status().WithContext("planning '" + schedule_.ops[i].name + "'");
    launches_.push_back(*std::move(launch));
  }
  for (const LaunchGroup& group : groups_) {
    for (int op : group.ops) launches_[op] = [](cudaStream_t) { return OkStatus(); };
    launches_[group.ops.back()] = MakeGroup(group);
  }
  return OkStatus();
}

StatusOr<StepPlan::Launch> StepPlan::MakeLaunch(int index) {
  const ScheduledOp& op = schedule_.ops[index];
  if (op.action == Action::kGemm) return MakeGemm(index);
  if (op.action == Action::kCollective) return MakeCollective(index);
  const Kernel* kernel = FindKernel(op.action);
  return Launch([call = CallOf(op), kernel](cudaStream_t stream) {
    return FromCuda(kernel->enqueue(call, stream), kernel->action.name.data());
  });
}

KernelCall StepPlan::CallOf(const ScheduledOp& op) const {
  KernelCall call = MakeCall(
      schedule_, op, [this](const View& view) { return AddressOf(view); }, scratch_);
  call.tensor_cores = rank_.options().tensor_cores;
  return call;
}

std::vector<KernelCall> StepPlan::CallsOf(const LaunchGroup& group) const {
  std::vector<KernelCall> calls;
  for (int op : group.ops) calls.push_back(CallOf(schedule_.ops[op]));
  return calls;
}

StepPlan::Launch StepPlan::MakeGroup(const LaunchGroup& group) const {
  return [calls = CallsOf(group), kind = group.kind, written = group.written](cudaStream_t stream) {
    const cudaError_t error = kind == GroupKind::kUpdates   ? EnqueueUpdates(calls, stream)
                              : kind == GroupKind::kSquares ? EnqueueSquares(calls, stream)
                                                            : EnqueueNorm(calls, written, stream);
    return FromCuda(error, "a group of launches");
  };
}

StatusOr<StepPlan::Launch> StepPlan::MakeGemm(int index) {
  const ScheduledOp& op = schedule_.ops[index];
  const std::optional<ProductViews> views = AsBatch(op);
  if (!views) return MakeLoopedGemm(op);
  std::optional<DeviceMatrix> added;
  if (views->added) added = At(*views->added);
  GemmContext context = rank_.gemm_context();
  context.scratch = gemm_scratch_;
  TP_ASSIGN_OR_RETURN(std::unique_ptr<Gemm> gemm,
                      Gemm::Plan(context, At(views->a), At(views->b), At(views->c), added,
                                 OptionsOfGemms(), views->batch));
  gemms_.push_back(std::move(gemm));
  return Launch([gemm = gemms_.back().get()](cudaStream_t stream) { return gemm->Run(stream); });
}

StepPlan::Launch StepPlan::MakeLoopedGemm(const ScheduledOp& op) const {
  const auto in_memory = [&](const View& view) {
    return DeviceView{AddressOf(view), schedule_.buffers[view.buffer].dtype, view.dims};
  };
  LoopedProduct product{in_memory(op.reads[0]), in_memory(op.reads[1]), in_memory(op.writes[0]),
                        std::nullopt};
  if (op.reads.size() == 3) product.added = in_memory(op.reads[2]);
  return Launch([product](cudaStream_t stream) {
    return FromCuda(LoopedGemm(product, stream), "LoopedGemm");
  });
}

StepPlan::Launch StepPlan::MakeCollective(int index) {
  if (IsTurn(index)) {
    return [this, index](cudaStream_t stream) { return EnqueueTurn(index, stream); };
  }
  if (peers_[index] != nullptr) {
    return [this, peer = peers_[index].get(), index](cudaStream_t stream) {
      return peer->Enqueue(stream, IsAwaited(index) ? begun_[index] : nullptr);
    };
  }
  const ScheduledOp& op = schedule_.ops[index];
  if (communicators_[index] == nullptr) {  // of no elements
    return [](cudaStream_t) { return OkStatus(); };
  }
  return [&op, communicator = communicators_[index], send = AddressOf(op.send),
          receive = AddressOf(op.receive)](cudaStream_t stream) {
    return EnqueueCollective(*communicator, op.call, send, receive, stream);
  };
}

// Every candidate runs on the step's own buffers, filled with what looks like data: a GPU is faster
// on zeros.
Status StepPlan::SearchGemms() {
  const cudaStream_t stream = rank_.stream(kCompute);
  for (size_t i = 0; i < schedule_.buffers.size(); ++i) {
    const Buffer& buffer = schedule_.buffers[i];
    TP_CUDA(FillNoise(arena_->At(static_cast<int>(i)), buffer.dtype, buffer.elements, stream));
  }
  std::vector<Gemm*> gemms;
  for (const auto& gemm : gemms_) gemms.push_back(gemm.get());
  TP_RETURN_IF_ERROR(ChooseAlgorithms(gemms, stream, rank_.control(), rank_.options().deadline,
                                      rank_.gemm_times()));
  TP_CUDA(cudaStreamSynchronize(stream));
  return OkStatus();
}

Status StepPlan::EnqueueAllButCollectives() {
  for (size_t i = 0; i < schedule_.ops.size(); ++i) {
    if (schedule_.ops[i].action == Action::kCollective) continue;
    const Status launched = launches_[i](rank_.stream(kCompute));
    if (!launched.ok()) return launched.WithContext("'" + schedule_.ops[i].name + "'");
  }
  return OkStatus();
}

Status StepPlan::Enqueue(StepKind kind, const std::vector<OpEvents>* events, cudaEvent_t begin,
                         const std::function<Status()>& held) {
  const cudaStream_t compute = rank_.stream(kCompute);
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  TP_CUDA(cudaStreamIsCapturing(compute, &capture));
  one_by_one_ = capture == cudaStreamCaptureStatusNone;
  measured_ = held != nullptr;
  const cudaEvent_t fork = begin == nullptr ? fork_ : begin;
  TP_CUDA(cudaEventRecord(fork, compute));
  for (Stream stream : communication_) {
    TP_CUDA(cudaStreamWaitEvent(rank_.stream(stream), fork, 0));
  }
  PhaseScope phase;
  const int ops = static_cast<int>(schedule_.ops.size());
  for (int i = 0; i < ops; ++i) {
    if (held && i == kMostHeld) TP_RETURN_IF_ERROR(held());
    if (!Runs(kind, i)) continue;
    phase.Enter(schedule_.ops[i].phase);
    const OpScope scope(i, schedule_.ops[i]);
    TP_RETURN_IF_ERROR(EnqueueOp(kind, i, events));
    if (i + 1 == ops && kind == StepKind::kWhole) {
      TP_RETURN_IF_ERROR(AwaitTurns(awaited_[ops], compute));
    }
  }
  for (size_t i = 0; i < joins_.size(); ++i) {
    const bool tells = i == communication_.size();
    if (tells && ((one_by_one_ && !measured_) || kind != StepKind::kWhole)) continue;  // unused
    TP_CUDA(
        cudaEventRecord(joins_[i], tells ? rank_.tell_stream() : rank_.stream(communication_[i])));
    TP_CUDA(cudaStreamWaitEvent(compute, joins_[i], 0));
  }
  return held && ops <= kMostHeld ? held() : OkStatus();
}

Status StepPlan::EnqueueOp(StepKind kind, int index, const std::vector<OpEvents>* events) {
  const ScheduledOp& op = schedule_.ops[index];
  const cudaStream_t stream = rank_.stream(op.stream);
  for (int wait : op.waits) {
    if (Runs(kind, wait)) TP_CUDA(cudaStreamWaitEvent(stream, ended_[wait], 0));
  }
  const int sum = goes_after_[index];
  if (sum >= 0 && IsAwaited(sum) && Runs(kind, sum)) {
    TP_CUDA(cudaStreamWaitEvent(stream, begun_[sum], 0));
  }
  if (kind == StepKind::kWhole) TP_RETURN_IF_ERROR(AwaitTurns(awaited_[index], stream));
  if (events != nullptr) TP_CUDA(cudaEventRecord((*events)[index].begin, stream));
  const Status launched = launches_[index](stream);
  if (!launched.ok()) return launched.WithContext("'" + op.name + "'");
  if (events != nullptr && !IsTurn(index)) {
    TP_CUDA(cudaEventRecord((*events)[index].end, stream));
  }
  if (ended_[index] != nullptr) TP_CUDA(cudaEventRecord(ended_[index], stream));
  if (!IsTurn(index)) return OkStatus();
  return TellOfTurn(index, events == nullptr ? nullptr : (*events)[index].end);
}

std::vector<int> StepPlan::AwaitedWith(int op) const {
  std::vector<int> turns = awaited_[op];
  if (op + 1 == static_cast<int>(schedule_.ops.size())) {
    turns.insert(turns.end(), awaited_.back().begin(), awaited_.back().end());
  }
  return turns;
}

char* StepPlan::AddressOf(const View& view) const {
  char* base = arena_->At(view.buffer);
  if (base == nullptr) return nullptr;
  return base + view.offset * SizeOf(schedule_.buffers[view.buffer].dtype);
}

}  // namespace tp::nccl
