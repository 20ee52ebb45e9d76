#include "backends/nccl/cupti_trace.h"

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
#include <unordered_map>
#include <utility>

#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                         CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMCPY2,
                                         CUPTI_ACTIVITY_KIND_MEMSET};
constexpr CUpti_ActivityKind kCallKinds[] = {CUPTI_ACTIVITY_KIND_RUNTIME,
                                             CUPTI_ACTIVITY_KIND_DRIVER};

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
  uint64_t node = 0;  // of a graph; 0: launched on its own
  int64_t threads_per_block = 0;
  int64_t static_shared_bytes = 0;
  KernelRecord record;
};

struct State {
  std::mutex switching;  // held in calls of CUPTI, which may call back
  int users = 0;
  CUpti_SubscriberHandle subscriber = nullptr;

  std::mutex mutex;  // of what callbacks write
  std::unordered_map<uint64_t, int> op_of_node;
  std::unordered_map<uint32_t, int64_t> called_ns;  // when CUDA was called, by correlation
  std::vector<Seen> seen;
};

State& TheState() {
  static State* state = new State;  // CUPTI's threads may outlive main
  return *state;
}

uint64_t CUPTIAPI SteadyNow() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

void CUPTIAPI OnNodeCloned(void*, CUpti_CallbackDomain, CUpti_CallbackId, const void* data) {
  const auto& graph = *static_cast<const CUpti_GraphData*>(
      static_cast<const CUpti_ResourceData*>(data)->resourceDescriptor);
  uint64_t original = 0;
  uint64_t clone = 0;
  // Failing, the node's kernels have no op, which Take reports.
  if (cuptiGetGraphNodeId(graph.originalNode, &original) != CUPTI_SUCCESS ||
      cuptiGetGraphNodeId(graph.node, &clone) != CUPTI_SUCCESS) {
    return;
  }
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  const auto op = state.op_of_node.find(original);
  if (op != state.op_of_node.end()) state.op_of_node[clone] = op->second;
}

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
  seen.node = kernel.graphNodeId;
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
  seen.node = activity.graphNodeId;
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

int OpOf(const Seen& seen, const State& state, const std::vector<OpNote>& notes) {
  if (seen.node != 0) {
    const auto found = state.op_of_node.find(seen.node);
    return found == state.op_of_node.end() ? -1 : found->second;
  }
  const auto called = state.called_ns.find(static_cast<uint32_t>(seen.record.correlation));
  if (called == state.called_ns.end()) return -1;
  for (size_t op = 0; op < notes.size(); ++op) {
    if (called->second >= notes[op].begin_ns && called->second <= notes[op].end_ns) {
      return static_cast<int>(op);
    }
  }
  return -1;
}

Status SetUp(State& state) {
  if (state.subscriber != nullptr) return OkStatus();
  TP_RETURN_IF_ERROR(
      FromCupti(cuptiSubscribe(&state.subscriber, OnNodeCloned, nullptr), "cuptiSubscribe"));
  TP_RETURN_IF_ERROR(FromCupti(cuptiActivityRegisterTimestampCallback(SteadyNow),
                               "cuptiActivityRegisterTimestampCallback"));
  return FromCupti(cuptiActivityRegisterCallbacks(GiveBuffer, TakeBuffer),
                   "cuptiActivityRegisterCallbacks");
}

Status TellOfClones(const State& state, bool on) {
  return FromCupti(cuptiEnableCallback(on ? 1 : 0, state.subscriber, CUPTI_CB_DOMAIN_RESOURCE,
                                       CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED),
                   "cuptiEnableCallback");
}

// All that Start and Stop turn on and off.
Status Record(const State& state, bool calls, bool on) {
  TP_RETURN_IF_ERROR(TellOfClones(state, on));
  std::vector<CUpti_ActivityKind> kinds(std::begin(kKinds), std::end(kKinds));
  if (calls) kinds.insert(kinds.end(), std::begin(kCallKinds), std::end(kCallKinds));
  for (CUpti_ActivityKind kind : kinds) {
    TP_RETURN_IF_ERROR(on ? FromCupti(cuptiActivityEnable(kind), "cuptiActivityEnable")
                          : FromCupti(cuptiActivityDisable(kind), "cuptiActivityDisable"));
  }
  return OkStatus();
}

}  // namespace

Status CuptiTrace::Start(bool calls) {
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.switching);
  if (state.users++ > 0) return OkStatus();
  TP_RETURN_IF_ERROR(SetUp(state));
  return Record(state, calls, true);
}

Status CuptiTrace::Stop(bool calls) {
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.switching);
  return --state.users > 0 ? OkStatus() : Record(state, calls, false);
}

Status CuptiTrace::NameNodes(const std::vector<OpNote>& notes) {
  State& state = TheState();
  for (size_t op = 0; op < notes.size(); ++op) {
    for (cudaGraphNode_t node : notes[op].nodes) {
      uint64_t id = 0;
      TP_RETURN_IF_ERROR(FromCupti(cuptiGetGraphNodeId(node, &id), "cuptiGetGraphNodeId"));
      const std::lock_guard<std::mutex> lock(state.mutex);
      state.op_of_node[id] = static_cast<int>(op);
    }
  }
  return OkStatus();
}

Status CuptiTrace::Forget(int device) {
  TP_RETURN_IF_ERROR(FromCupti(cuptiActivityFlushAll(0), "cuptiActivityFlushAll"));
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  std::erase_if(state.seen,
                [&](const Seen& seen) { return static_cast<int>(seen.device) == device; });
  return OkStatus();
}

StatusOr<std::vector<std::vector<KernelRecord>>> CuptiTrace::Take(
    int device, const std::vector<OpNote>& notes) {
  TP_RETURN_IF_ERROR(FromCupti(cuptiActivityFlushAll(0), "cuptiActivityFlushAll"));
  cudaDeviceProp properties;
  TP_CUDA(cudaGetDeviceProperties(&properties, device));
  std::vector<std::vector<KernelRecord>> by_op(notes.size());
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  const auto mine = std::stable_partition(
      state.seen.begin(), state.seen.end(),
      [&](const Seen& seen) { return static_cast<int>(seen.device) != device; });
  for (auto seen = mine; seen != state.seen.end(); ++seen) {
    const int op = OpOf(*seen, state, notes);
    if (op < 0) {
      return Internal(fmt::format("CUPTI saw '{}' on GPU {}, which no op is known to have launched",
                                  seen->record.name, device));
    }
    EstimateOccupancy(properties, *seen);
    by_op[static_cast<size_t>(op)].push_back(std::move(seen->record));
  }
  state.seen.erase(mine, state.seen.end());
  for (std::vector<KernelRecord>& kernels : by_op) {
    std::sort(kernels.begin(), kernels.end(),
              [](const KernelRecord& a, const KernelRecord& b) { return a.begin_ns < b.begin_ns; });
  }
  return by_op;
}

}  // namespace tp::nccl
