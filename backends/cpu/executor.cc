#include "backends/cpu/executor.h"

#include <glog/logging.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <new>
#include <utility>

#include "backends/cpu/cores.h"
#include "backends/cpu/kernels/all.h"
#include "backends/cpu/staging.h"
#include "sim/collectives/communicator.h"
#include "tp/core/clock.h"
#include "tp/runtime/kernel_check.h"
#include "tp/schedule/hazards.h"
#include "tp/schedule/memory.h"

namespace tp::cpu {
namespace {

constexpr uint64_t kStop = ~uint64_t{0};

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};
struct Memory {
  std::shared_ptr<std::byte[]> owned;
  int64_t bytes = 0;

  std::byte* get() const { return owned.get(); }
};

StatusOr<Memory> Allocate(const std::string& what, int64_t bytes) {
  if (bytes == 0) return Memory();
  const int64_t rounded = (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
  Memory memory;
  memory.owned.reset(
      static_cast<std::byte*>(std::aligned_alloc(kArenaAlignment, static_cast<size_t>(rounded))),
      Free());
  memory.bytes = rounded;
  if (memory.owned == nullptr) {
    return Unavailable("no memory for " + what + " of " + std::to_string(bytes) +
                       " bytes; take smaller sizes or more ranks");
  }
  std::memset(memory.get(), 0, rounded);  // also makes the system give the pages now
  return memory;
}

}  // namespace

class ExecutorState {
 public:
  ExecutorState(sim::Fabric& fabric, const Schedule& schedule, sim::Algorithm all_reduce,
                const Clock& clock)
      : fabric_(fabric),
        schedule_(schedule),
        arena_(ArenaOf(schedule)),
        all_reduce_(all_reduce),
        clock_(clock),
        awaited_(schedule.ops.size()),
        ended_(schedule.ops.size()) {
    for (const ScheduledOp& op : schedule_.ops) {
      used_[static_cast<int>(op.stream)] = true;
      for (int wait : op.waits) awaited_[wait] = true;
    }
    record_.ops.resize(schedule_.ops.size());
    record_.clock = clock_.kind();
  }

  Status Prepare(int index) {
    TP_ASSIGN_OR_RETURN(memory_, Allocate("a rank's buffers", arena_.bytes));
    for (const ScheduledOp& op : schedule_.ops) {
      communicator_of_.push_back(nullptr);
      if (op.action == Action::kCollective) TP_RETURN_IF_ERROR(PrepareCollective(op, index));
    }
    TP_ASSIGN_OR_RETURN(const int64_t scratch_bytes, FindKernels());
    TP_ASSIGN_OR_RETURN(scratch_, Allocate("the kernels' scratch", scratch_bytes));
    return OkStatus();
  }

  AllocatedMemory Allocated() const { return {memory_.bytes, scratch_.bytes}; }

  // The agent of one stream: runs its ops, step after step, until told to stop.
  Status Work(Stream stream) {
    for (uint64_t step = 1;; ++step) {
      TP_RETURN_IF_ERROR(AwaitOwn(ordered_, step, "its next step"));
      if (step > last_step_) return OkStatus();
      for (int other = 0; other < kMostStreams; ++other) {  // a step begins when the last has ended
        if (used_[other]) TP_RETURN_IF_ERROR(AwaitOwn(done_[other], step - 1, "the step before"));
      }
      if (fed_.load() == step) TP_RETURN_IF_ERROR(BeginWithWhatWasFed(stream, step));
      for (size_t i = 0; i < schedule_.ops.size(); ++i) {
        const ScheduledOp& op = schedule_.ops[i];
        if (op.stream != stream) continue;
        if (kind_ == StepKind::kProductsOnly && !IsProduct(op.action)) continue;
        TP_RETURN_IF_ERROR(RunOp(i, step));
      }
      scheduler().Raise(done_[static_cast<int>(stream)], step);
    }
  }

  Status Enqueue(StepKind kind) {
    if (kind != kind_) {
      TP_RETURN_IF_ERROR(Synchronize());  // the workers read kind_ until then
      kind_ = kind;
    }
    if (scheduler().aborted()) return scheduler().AbortedStatus();
    record_.begin_ns = clock_.NowNs();
    if (kind == StepKind::kWhole && std::exchange(feeds_next_, false)) {
      // Feed saw the step begin that took what was fed before, so nobody needs its number any more.
      fed_.store(steps_ + 1);
      if (std::ranges::none_of(used_, std::identity()))
        TakeFed(steps_ + 1);  // no op reads it, but Read does
    }
    scheduler().Raise(ordered_, ++steps_);
    return OkStatus();
  }

  Status Feed(const Region& region, std::span<const std::byte> bytes) {
    TP_RETURN_IF_ERROR(AwaitOwn(taken_, fed_.load(), "the step that takes what was fed"));
    TP_RETURN_IF_ERROR(staging_.Put(region, schedule_, bytes));
    feeds_next_ = true;
    return OkStatus();
  }

  Status Synchronize() {
    for (int stream = 0; stream < kMostStreams; ++stream) {
      if (used_[stream]) TP_RETURN_IF_ERROR(AwaitOwn(done_[stream], steps_, "its streams to end"));
    }
    if (synchronized_ < steps_) record_.end_ns = clock_.NowNs();
    synchronized_ = steps_;
    return OkStatus();
  }

  void Stop() {
    last_step_ = steps_;
    scheduler().Raise(ordered_, kStop);
  }

  StatusOr<std::span<std::byte>> Bytes(BufferId id, size_t size) {
    const Buffer& buffer = schedule_.buffers.at(id);
    if (static_cast<int64_t>(size) != buffer.bytes()) {
      return InvalidArgument("buffer '" + buffer.name + "' holds " +
                             std::to_string(buffer.bytes()) + " bytes, not " +
                             std::to_string(size));
    }
    return std::span<std::byte>(memory_.get() + arena_.offsets[id], size);
  }

  sim::Scheduler& scheduler() const { return fabric_.scheduler(); }
  const Schedule& schedule() const { return schedule_; }
  const StepRecord& record() const { return record_; }
  bool Uses(Stream stream) const { return used_[static_cast<int>(stream)]; }

  // --algorithm names the all_reduce; every other collective takes its own best form.
  sim::Algorithm AlgorithmFor(const ScheduledOp& op) const {
    const bool all_reduce = op.call.kind == CollectiveKind::kAllReduce;
    return sim::Resolve(op.call, all_reduce ? all_reduce_ : sim::Algorithm::kAuto,
                        static_cast<int>(op.group.size()));
  }

 private:
  void TakeFed(uint64_t step) {
    staging_.Take([this](BufferId buffer) { return memory_.get() + arena_.offsets[buffer]; });
    scheduler().Raise(taken_, step);
  }

  // The stream's part of a step's begin: the first that has ops copies, the others wait for it.
  Status BeginWithWhatWasFed(Stream stream, uint64_t step) {
    const auto first = std::ranges::find(used_, true) - used_.begin();
    if (static_cast<int>(stream) != first) return AwaitOwn(taken_, step, "what was fed");
    TakeFed(step);
    return OkStatus();
  }

  // Waits for this rank's own host or streams, however long they take: what can fail to come is
  // another rank, and whoever waits for that one has the deadline and names it. Were there two
  // deadlines, the one of a rank that waits for its stream would run out first and hide the cause.
  Status AwaitOwn(sim::Signal& signal, uint64_t value, const char* what) {
    while (true) {
      Status status = scheduler().Await(signal, value, {.what = what, .rank = schedule_.rank});
      if (status.code() != StatusCode::kDeadlineExceeded) return status;
    }
  }

  Status PrepareCollective(const ScheduledOp& op, int index) {
    // No two groups of a mesh have the same first two members, and no two streams one communicator.
    static_assert(Mesh::kMaxWorld <= 1 << 16 && kMostStreams <= 1 << 4);
    const uint64_t group_id = (static_cast<uint64_t>(index) + 1) << 36 |
                              static_cast<uint64_t>(op.stream) << 32 |
                              static_cast<uint64_t>(op.group.front()) << 16 |
                              static_cast<uint64_t>(op.group.size() > 1 ? op.group[1] : 0);
    std::unique_ptr<sim::Communicator>& communicator = communicators_[group_id];
    if (communicator == nullptr) {
      TP_ASSIGN_OR_RETURN(communicator,
                          sim::Communicator::Create(fabric_, op.group, schedule_.rank, group_id));
      communicator->Share(memory_.owned);
    }
    communicator_of_.back() = communicator.get();
    return communicator->Prepare(op.call, AlgorithmFor(op));
  }

  void* AddressOf(const View& view) const {
    return memory_.get() + arena_.offsets[view.buffer] +
           view.offset * SizeOf(schedule_.buffers[view.buffer].dtype);
  }

  Tensor TensorOf(const View& view) const { return {AddressOf(view), view.dims}; }

  // The call of a kernel on this rank's memory.
  template <typename Use>
  auto WithCall(const ScheduledOp& op, const Use& use) const {
    std::array<Tensor, kMostOperands> in;
    std::array<Tensor, kSumBlocks> out;
    for (size_t i = 0; i < op.reads.size(); ++i) in.at(i) = TensorOf(op.reads[i]);
    for (size_t i = 0; i < op.writes.size(); ++i) out.at(i) = TensorOf(op.writes[i]);
    return use(KernelCall{op,
                          schedule_.buffers[op.reads[0].buffer].dtype,
                          schedule_.buffers[op.writes[0].buffer].dtype,
                          {in.data(), op.reads.size()},
                          {out.data(), op.writes.size()},
                          scratch_.get()});
  }

  // Finds the kernels of all ops, and says how much memory they need besides.
  StatusOr<int64_t> FindKernels() {
    TP_RETURN_IF_ERROR(CheckHasKernels(
        schedule_, "the CPU backend", [](Action action) { return FindKernel(action) != nullptr; }));
    int64_t scratch_bytes = 0;
    for (const ScheduledOp& op : schedule_.ops) {
      kernels_.push_back(nullptr);
      if (op.action == Action::kCollective) continue;
      const Kernel* kernel = FindKernel(op.action);
      kernels_.back() = kernel;
      if (kernel->scratch_bytes == nullptr) continue;
      scratch_bytes = std::max(scratch_bytes, WithCall(op, kernel->scratch_bytes));
    }
    return scratch_bytes;
  }

  Status RunOp(size_t index, uint64_t step) {
    const ScheduledOp& op = schedule_.ops[index];
    // Products wait for nothing but each other, and those are on one stream.
    if (kind_ == StepKind::kWhole) {
      for (int wait : op.waits) {
        TP_RETURN_IF_ERROR(AwaitOwn(ended_[wait], step, "another stream's op"));
      }
    }
    OpRecord& record = record_.ops[index];
    record.begin_ns = clock_.NowNs();
    if (op.action == Action::kCollective) {
      sim::Communicator& communicator = *communicator_of_[index];
      TP_RETURN_IF_ERROR(
          communicator.Run(op.call, AlgorithmFor(op), AddressOf(op.send), AddressOf(op.receive)));
      record.bytes_sent = communicator.last_bytes_sent();
    } else {
      WithCall(op, kernels_[index]->run);
    }
    record.end_ns = clock_.NowNs();
    if (awaited_[index]) scheduler().Raise(ended_[index], step);
    return OkStatus();
  }

  sim::Fabric& fabric_;
  const Schedule schedule_;
  const ArenaLayout arena_;
  const sim::Algorithm all_reduce_;
  const Clock& clock_;
  std::vector<const Kernel*> kernels_;  // by op; null for collectives
  Memory memory_;                       // the arena
  Memory scratch_;                      // of the compute stream
  std::map<uint64_t, std::unique_ptr<sim::Communicator>> communicators_;  // by group's number
  std::vector<sim::Communicator*> communicator_of_;                       // by op; null for others

  std::array<bool, kMostStreams> used_ = {};
  std::vector<bool> awaited_;                   // by op: another stream waits for it
  std::vector<sim::Signal> ended_;              // by op: the step in which it last ended
  std::array<sim::Signal, kMostStreams> done_;  // the step whose ops of the stream have all ended
  sim::Signal ordered_;                         // the last step that the rank asked for
  Staging staging_;  // a worker's from the order of the step that takes until `taken_` says it did
  bool feeds_next_ = false;                 // the rank's own: something was fed for the next step
  std::atomic<uint64_t> fed_{0};            // the last step that takes what was fed; 0: none
  sim::Signal taken_;                       // the last step that took it
  uint64_t steps_ = 0;                      // the rank's own
  uint64_t synchronized_ = 0;               // the rank's own: the last step that it saw end
  StepKind kind_ = StepKind::kWhole;        // of the steps under way
  std::atomic<uint64_t> last_step_{kStop};  // after which the workers end
  StepRecord record_;
};

StatusOr<std::unique_ptr<CpuExecutor>> CpuExecutor::Create(sim::Fabric& fabric,
                                                           const Schedule& schedule,
                                                           sim::Algorithm all_reduce, int index,
                                                           bool own_cores, const Clock& clock) {
  TP_RETURN_IF_ERROR(CheckHazards(schedule));
  auto state = std::make_shared<ExecutorState>(fabric, schedule, all_reduce, clock);
  TP_RETURN_IF_ERROR(state->Prepare(index));
  // A stream stays on one core: its caches stay warm, and no two ranks' streams end up on one core
  // while another has nothing to do. The streams of a rank share one where there is no core for
  // each: a wait then costs a switch and no wake-up.
  const int cores = NumCores();
  const bool stay = own_cores && fabric.world() <= cores;
  const int apart = 2 * fabric.world() <= cores ? fabric.world() : 0;
  for (Stream stream : AllStreams()) {
    if (!state->Uses(stream)) continue;
    const int core = schedule.rank + (stream == Stream::kCompute ? 0 : apart);
    fabric.scheduler().Spawn({"rank " + std::to_string(schedule.rank) + " " + Name(stream),
                              schedule.rank, [state, stream, stay, core] {
                                if (stay) StayOnCore(core);
                                return state->Work(stream);
                              }});
  }
  return std::unique_ptr<CpuExecutor>(new CpuExecutor(std::move(state)));
}

CpuExecutor::CpuExecutor(std::shared_ptr<ExecutorState> state) : state_(std::move(state)) {}

CpuExecutor::~CpuExecutor() { state_->Stop(); }

Status CpuExecutor::Write(BufferId buffer, std::span<const std::byte> bytes) {
  TP_RETURN_IF_ERROR(state_->Synchronize());
  TP_ASSIGN_OR_RETURN(const std::span<std::byte> memory, state_->Bytes(buffer, bytes.size()));
  std::copy(bytes.begin(), bytes.end(), memory.begin());
  return OkStatus();
}

Status CpuExecutor::Read(BufferId buffer, std::span<std::byte> bytes) {
  TP_RETURN_IF_ERROR(state_->Synchronize());
  TP_ASSIGN_OR_RETURN(const std::span<std::byte> memory, state_->Bytes(buffer, bytes.size()));
  std::copy(memory.begin(), memory.end(), bytes.begin());
  return OkStatus();
}

Status CpuExecutor::Feed(const Region& region, std::span<const std::byte> bytes) {
  return state_->Feed(region, bytes);
}

Status CpuExecutor::EnqueueStep(StepKind kind) { return state_->Enqueue(kind); }

Status CpuExecutor::Synchronize() { return state_->Synchronize(); }

DeviceInfo CpuExecutor::Device() const {
  DeviceInfo device;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; device.name.empty() && std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      device.name = line.substr(colon + 2);
    }
  }
  device.memory_bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  return device;
}

AllocatedMemory CpuExecutor::Allocated() const { return state_->Allocated(); }

const StepRecord& CpuExecutor::LastStep() const { return state_->record(); }

std::string CpuExecutor::AlgorithmOf(int index) const {
  return sim::Name(state_->AlgorithmFor(state_->schedule().ops.at(index)));
}

int64_t CpuExecutor::ExpectedBytes(int index) const {
  const ScheduledOp& op = state_->schedule().ops.at(index);
  return sim::Communicator::ExpectedBytesSent(op.call, state_->AlgorithmFor(op),
                                              static_cast<int>(op.group.size()));
}

}  // namespace tp::cpu
