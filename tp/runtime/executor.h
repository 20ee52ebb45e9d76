// Executor: runs one rank's Schedule on some backend.
//
// It owns the schedule's buffers, allocated once, zero at first. EnqueueStep hands the whole step
// to the backend's streams and returns; only Synchronize tells that it has ended (enqueued is not
// done). Steps run one after the other. Once warm, a step allocates nothing. All calls come from
// the rank's own thread. Every wait has the backend's deadline; the first rank that fails aborts
// the others, whose errors name it and its cause.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tp/core/clock.h"
#include "tp/core/status.h"
#include "tp/runtime/region.h"
#include "tp/schedule/schedule.h"

namespace tp {

// What one op of one step did, on the clock of the step's record.
struct OpRecord {
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  int64_t bytes_sent = 0;  // by this rank, in a collective
};

// One thing that ran on a device for an op, on the clock of the ops. A grid of blocks, as
// CUDA says it; the last two are estimates from these numbers and the device's limits.
struct KernelRecord {
  enum class Kind { kKernel, kCopy, kFill };

  Kind kind = Kind::kKernel;
  std::string name;
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  int64_t correlation = 0;  // the device's own number of the call that launched it
  std::array<int64_t, 3> grid = {1, 1, 1};
  std::array<int64_t, 3> block = {1, 1, 1};
  int64_t registers_per_thread = 0;
  int64_t shared_bytes = 0;  // of a block
  double blocks_per_multiprocessor = 0;
  double occupancy_percent = 0;

  bool operator==(const KernelRecord&) const = default;
};

// What only a profiled step tells of an op.
struct OpProfile {
  int64_t enqueue_begin_ns = 0;  // the rank's thread began to enqueue it, on its own or with others
  int64_t enqueue_end_ns = 0;
  std::vector<KernelRecord> kernels;  // in the order in which they began
};

struct StepRecord {
  int64_t begin_ns = 0;       // the step was handed over, on the clock of the ops
  int64_t end_ns = 0;         // its last op had ended
  std::vector<OpRecord> ops;  // one for each op of the schedule, or none where ops were not timed
  // One for each op of a profiled step; none where a step is handed over as a whole and an op is
  // one thing that a worker does.
  std::vector<OpProfile> profile = {};
  ClockKind clock = ClockKind::kMeasured;  // what all these times are
};

// What a rank computes on.
struct DeviceInfo {
  bool gpu = false;  // else it is cores of the host
  int index = 0;     // of the devices of its host
  std::string name;  // as the system calls it; "" where it does not say
  int64_t memory_bytes = 0;
  int compute_major = 0;  // CUDA's compute capability; GPUs only
  int compute_minor = 0;
  int multiprocessors = 0;  // GPUs only
};

// What a rank has allocated to run its schedule, in bytes.
struct AllocatedMemory {
  int64_t buffers = 0;  // for the schedule's buffers: what was planned (ArenaOf), if all is well
  int64_t scratch = 0;  // for kernels and collectives besides
};

// What of a schedule a step runs: everything, or its matrix products alone, over the same memory
// and with nothing else, which is the floor under the whole step's time.
enum class StepKind { kWhole, kProductsOnly };

class Executor {
 public:
  virtual ~Executor() = default;

  // Copies a whole buffer in or out and returns when that is done, after all steps before it.
  // Errors: a size that is not the buffer's is INVALID_ARGUMENT; or the backend's.
  virtual Status Write(BufferId buffer, std::span<const std::byte> bytes) = 0;
  virtual Status Read(BufferId buffer, std::span<std::byte> bytes) = 0;

  // Copies `bytes`, packed, to staging memory and returns; the next whole step that is enqueued
  // begins by copying them on to `region`. So steps that were enqueued before are not disturbed,
  // and what is fed travels while they run. Fed twice before a step, the later bytes count. It
  // waits for the step to begin that takes what was fed for it, and where a region is fed for the
  // first time, for all steps: then its staging memory is allocated. Errors: INVALID_ARGUMENT for a
  // region that is no part of its buffer, or overlaps one fed before and is not the same, and for
  // another number of bytes; or the backend's.
  virtual Status Feed(const Region& region, std::span<const std::byte> bytes) = 0;

  virtual Status EnqueueStep(StepKind kind) = 0;
  virtual Status Synchronize() = 0;

  // Whether ops are to be timed from the next step on. Where that costs nothing the backend always
  // times them, and says so.
  virtual void TimeOps(bool on) = 0;
  virtual bool OpTimesAreFree() const = 0;

  // Whether steps are to be profiled from the next one on. Called with no step under way. Errors:
  // the backend's.
  virtual Status Profile(bool on) = 0;
  // All that is known of the last step that Synchronize saw end, which was profiled: its ops are
  // timed. Called at most once a step; it may take a while. Errors: the backend's.
  virtual StatusOr<StepRecord> CollectProfile() = 0;
  virtual DeviceInfo Device() const = 0;
  virtual AllocatedMemory Allocated() const = 0;

  // Of the last step that Synchronize saw end.
  virtual const StepRecord& LastStep() const = 0;

  // How op `index` of the schedule, a collective, is done: "ring", "direct", "nccl".
  virtual std::string AlgorithmOf(int index) const = 0;
  // What that algorithm says that all members together send for it in a step, in bytes: from the
  // call alone, and so apart from what OpRecord counts. At least MinimalElementsSent.
  virtual int64_t ExpectedBytes(int index) const = 0;
};

}  // namespace tp
