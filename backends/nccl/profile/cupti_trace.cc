#include "backends/nccl/profile/cupti_trace.h"

#include <cuda_occupancy.h>
#include <cuda_runtime_api.h>
#include <cupti.h>
#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>

#include "backends/nccl/error.h"
#include "tp/core/clock.h"

namespace tp::nccl {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr CUpti_ActivityKind kKinds[] = {
    CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
    CUPTI_ACTIVITY_KIND_MEMCPY2,           CUPTI_ACTIVITY_KIND_MEMSET,
    CUPTI_ACTIVITY_KIND_RUNTIME,           CUPTI_ACTIVITY_KIND_DRIVER};
constexpr std::chrono::milliseconds kPatience{100};  // with late records

Status FromCupti(CUptiResult result, const char* call) {
  if (result == CUPTI_SUCCESS) return OkStatus();
  const char* text = nullptr;
  if (cuptiGetResultString(result, &text) != CUPTI_SUCCESS || text == nullptr) text = "unknown";
  std::string error = fmt::format("{} failed: {}", call, text);
  if (result == CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED) {
    error += "; another profiler has this process: under that, leave --profile out";
  }
  return Unavailable(std::move(error));
}

struct Seen {
  uint32_t device = 0;
  int64_t threads_per_block = 0;
  int64_t static_shared_bytes = 0;
  KernelRecord record;
};

struct State {
  std::mutex switching;  // held while CUPTI is turned on and off
  int users = 0;
  bool set_up = false;

  std::mutex flushing;  // a flush does not wait for what another thread's flush still delivers
  std::mutex mutex;     // of what CUPTI delivers
  std::unordered_map<uint32_t, int64_t> called_ns;  // when CUDA was called, by correlation
  std::vector<Seen> seen;
};

State& TheState() {
  static State* state = new State;  // CUPTI's threads may outlive main
  return *state;
}

uint64_t CUPTIAPI SteadyNow() { return static_cast<uint64_t>(HostClock().NowNs()); }

std::string Demangled(const char* name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string demangled = status == 0 ? text : name;
  std::free(text);
  return demangled;
}

void AddKernel(const CUpti_ActivityKernel10& kernel, State& state) {
  Seen seen;
  seen.device = kernel.deviceId;
  seen.threads_per_block = int64_t{kernel.blockX} * kernel.blockY * kernel.blockZ;
  seen.static_shared_bytes = kernel.staticSharedMemory;
  seen.record.name = Demangled(kernel.name);
  seen.record.begin_ns = static_cast<int64_t>(kernel.start);
  seen.record.end_ns = static_cast<int64_t>(kernel.end);
  seen.record.correlation = kernel.correlationId;
  seen.record.grid = {kernel.gridX, kernel.gridY, kernel.gridZ};
  seen.record.block = {kernel.blockX, kernel.blockY, kernel.blockZ};
  seen.record.registers_per_thread = kernel.registersPerThread;
  seen.record.shared_bytes =
      int64_t{kernel.staticSharedMemory} + int64_t{kernel.dynamicSharedMemory};
  state.seen.push_back(std::move(seen));
}

template <typename Activity>
void AddTransfer(const Activity& activity, KernelRecord::Kind kind, const char* name,
                 State& state) {
  Seen seen;
  seen.device = activity.deviceId;
  seen.record.kind = kind;
  seen.record.name = name;
  seen.record.begin_ns = static_cast<int64_t>(activity.start);
  seen.record.end_ns = static_cast<int64_t>(activity.end);
  seen.record.correlation = activity.correlationId;
  state.seen.push_back(std::move(seen));
}

void AddRecord(const CUpti_Activity& record, State& state) {
  switch (record.kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
      return AddKernel(reinterpret_cast<const CUpti_ActivityKernel10&>(record), state);
    case CUPTI_ACTIVITY_KIND_MEMCPY:
      return AddTransfer(reinterpret_cast<const CUpti_ActivityMemcpy6&>(record),
                         KernelRecord::Kind::kCopy, "copy", state);
    case CUPTI_ACTIVITY_KIND_MEMCPY2:  // to another GPU
      return AddTransfer(reinterpret_cast<const CUpti_ActivityMemcpyPtoP4&>(record),
                         KernelRecord::Kind::kCopy, "copy to peer", state);
    case CUPTI_ACTIVITY_KIND_MEMSET:
      return AddTransfer(reinterpret_cast<const CUpti_ActivityMemset4&>(record),
                         KernelRecord::Kind::kFill, "fill", state);
    case CUPTI_ACTIVITY_KIND_RUNTIME:
    case CUPTI_ACTIVITY_KIND_DRIVER: {
      const auto& call = reinterpret_cast<const CUpti_ActivityAPI&>(record);
      state.called_ns[call.correlationId] = static_cast<int64_t>(call.start);
      return;
    }
    default:
      return;
  }
}

void CUPTIAPI GiveBuffer(uint8_t** buffer, size_t* size, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = *buffer == nullptr ? 0 : kBufferBytes;
  *max_records = 0;  // as many as fit
}

void CUPTIAPI TakeBuffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid_size) {
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid_size, &record) == CUPTI_SUCCESS) {
    AddRecord(*record, state);
  }
  std::free(buffer);
}

// As PyTorch's profiler estimates them: what the kernel asks for, and what fits.
void EstimateOccupancy(const cudaDeviceProp& device, Seen& seen) {
  KernelRecord& kernel = seen.record;
  if (kernel.kind != KernelRecord::Kind::kKernel || seen.threads_per_block == 0) return;
  const auto blocks =
      static_cast<double>(kernel.grid[0]) * static_cast<double>(kernel.grid[1] * kernel.grid[2]);
  kernel.blocks_per_multiprocessor = blocks / device.multiProcessorCount;
  cudaOccFuncAttributes function;
  function.maxThreadsPerBlock = INT_MAX;
  function.numRegs = static_cast<int>(kernel.registers_per_thread);
  function.sharedSizeBytes = static_cast<size_t>(seen.static_shared_bytes);
  function.partitionedGCConfig = PARTITIONED_GC_OFF;
  function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  function.maxDynamicSharedSizeBytes = INT_MAX;
  const cudaOccDeviceProp limits(device);
  const cudaOccDeviceState state;
  cudaOccResult result;
  const cudaOccError error = cudaOccMaxActiveBlocksPerMultiprocessor(
      &result, &limits, &function, &state, static_cast<int>(seen.threads_per_block),
      static_cast<size_t>(kernel.shared_bytes - seen.static_shared_bytes));
  const double active =
      std::min(kernel.blocks_per_multiprocessor,
               error == CUDA_OCC_SUCCESS ? static_cast<double>(result.activeBlocksPerMultiprocessor)
                                         : kernel.blocks_per_multiprocessor);
  const double threads = active * static_cast<double>(seen.threads_per_block);
  kernel.occupancy_percent = std::min(100.0, 100 * threads / device.maxThreadsPerMultiProcessor);
}

struct Launcher {
  enum { kOp, kEarlier, kUnknown } known = kUnknown;
  size_t op = 0;
};

Launcher LauncherOf(const Seen& seen, int64_t since_ns, const State& state,
                    const std::vector<OpNote>& notes) {
  const auto found = state.called_ns.find(static_cast<uint32_t>(seen.record.correlation));
  // A call that was not recorded was made before recording began, or is yet to be delivered.
  const int64_t called_ns = found == state.called_ns.end() ? seen.record.begin_ns : found->second;
  if (called_ns < since_ns) return {Launcher::kEarlier};
  if (found == state.called_ns.end()) return {};
  for (size_t op = 0; op < notes.size(); ++op) {
    if (called_ns >= notes[op].begin_ns && called_ns <= notes[op].end_ns) {
      return {Launcher::kOp, op};
    }
  }
  return {};
}

// Moves what `device` ran to `by_op`; what remains seen is of an unknown launcher.
void Sort(const cudaDeviceProp& properties, int device, int64_t since_ns,
          const std::vector<OpNote>& notes, State& state,
          std::vector<std::vector<KernelRecord>>& by_op) {
  std::erase_if(state.seen, [&](Seen& seen) {
    if (static_cast<int>(seen.device) != device) return false;
    const Launcher launcher = LauncherOf(seen, since_ns, state, notes);
    if (launcher.known == Launcher::kOp) {
      EstimateOccupancy(properties, seen);
      by_op[launcher.op].push_back(std::move(seen.record));
    }
    return launcher.known != Launcher::kUnknown;
  });
}

const Seen* FirstOf(int device, const State& state) {
  for (const Seen& seen : state.seen) {
    if (static_cast<int>(seen.device) == device) return &seen;
  }
  return nullptr;
}

Status Flush(State& state) {
  const std::lock_guard<std::mutex> lock(state.flushing);
  return FromCupti(cuptiActivityFlushAll(0), "cuptiActivityFlushAll");
}

Status SetUp(State& state) {
  if (state.set_up) return OkStatus();
  TP_RETURN_IF_ERROR(FromCupti(cuptiActivityRegisterTimestampCallback(SteadyNow),
                               "cuptiActivityRegisterTimestampCallback"));
  TP_RETURN_IF_ERROR(FromCupti(cuptiActivityRegisterCallbacks(GiveBuffer, TakeBuffer),
                               "cuptiActivityRegisterCallbacks"));
  state.set_up = true;
  return OkStatus();
}

Status Record(bool on) {
  for (CUpti_ActivityKind kind : kKinds) {
    TP_RETURN_IF_ERROR(on ? FromCupti(cuptiActivityEnable(kind), "cuptiActivityEnable")
                          : FromCupti(cuptiActivityDisable(kind), "cuptiActivityDisable"));
  }
  return OkStatus();
}

}  // namespace

Status CuptiTrace::Start() {
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.switching);
  if (state.users++ > 0) return OkStatus();
  TP_RETURN_IF_ERROR(SetUp(state));
  return Record(true);
}

Status CuptiTrace::Stop() {
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.switching);
  if (--state.users > 0) return OkStatus();
  TP_RETURN_IF_ERROR(Record(false));
  // Attached, it slows what comes after, turned off or not.
  state.set_up = false;
  TP_RETURN_IF_ERROR(FromCupti(cuptiFinalize(), "cuptiFinalize"));
  const std::lock_guard<std::mutex> delivered(state.mutex);
  state.called_ns.clear();  // correlations may be given anew
  state.seen.clear();
  return OkStatus();
}

StatusOr<std::vector<std::vector<KernelRecord>>> CuptiTrace::Take(
    int device, int64_t since_ns, const std::vector<OpNote>& notes) {
  cudaDeviceProp properties;
  TP_CUDA(cudaGetDeviceProperties(&properties, device));
  State& state = TheState();
  std::vector<std::vector<KernelRecord>> by_op(notes.size());
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (;; std::this_thread::sleep_for(std::chrono::microseconds(100))) {
    TP_RETURN_IF_ERROR(Flush(state));
    const std::lock_guard<std::mutex> lock(state.mutex);
    Sort(properties, device, since_ns, notes, state, by_op);
    const Seen* unknown = FirstOf(device, state);
    const bool complete = std::none_of(by_op.begin(), by_op.end(),
                                       [](const auto& kernels) { return kernels.empty(); });
    const bool late = std::chrono::steady_clock::now() > until;
    if (unknown == nullptr && (complete || late)) break;
    if (late) {
      return Internal(fmt::format("CUPTI saw '{}' on GPU {}, which no op is known to have launched",
                                  unknown->record.name, device));
    }
  }
  if (std::all_of(by_op.begin(), by_op.end(), [](const auto& ks) { return ks.empty(); })) {
    return Unavailable(fmt::format(
        "CUPTI saw nothing of what GPU {} ran; where another profiler has this process, "
        "leave --profile out",
        device));
  }
  for (std::vector<KernelRecord>& kernels : by_op) {
    std::sort(kernels.begin(), kernels.end(),
              [](const KernelRecord& a, const KernelRecord& b) { return a.begin_ns < b.begin_ns; });
  }
  return by_op;
}

}  // namespace tp::nccl
