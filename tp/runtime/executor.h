// Executor: runs one rank's Schedule on some backend.
//
// It owns the schedule's buffers, allocated once, zero at first. EnqueueStep hands the whole step
// to the backend's streams and returns; only Synchronize tells that it has ended (enqueued is not
// done). Steps run one after the other. Once warm, a step allocates nothing. All calls come from
// the rank's own thread. Every wait has the backend's deadline; the first rank that fails aborts
// the others, whose errors name it and its cause.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tp/core/status.h"
#include "tp/schedule/schedule.h"

namespace tp {

// What one op of one step did: measured, on the backend's clock.
struct OpRecord {
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  int64_t bytes_sent = 0;  // by this rank, in a collective
};

struct StepRecord {
  int64_t begin_ns = 0;       // the step was handed over, on the clock of the ops
  int64_t end_ns = 0;         // its last op had ended
  std::vector<OpRecord> ops;  // one for each op of the schedule, or none where ops were not timed
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

  virtual Status EnqueueStep(StepKind kind) = 0;
  virtual Status Synchronize() = 0;

  // Whether ops are to be timed from the next step on. Where that costs nothing the backend always
  // times them, and says so.
  virtual void TimeOps(bool on) = 0;
  virtual bool OpTimesAreFree() const = 0;

  // Of the last step that Synchronize saw end.
  virtual const StepRecord& LastStep() const = 0;

  // How op `index` of the schedule, a collective, is done: "ring", "direct", "nccl".
  virtual std::string AlgorithmOf(int index) const = 0;
  // Bytes that all members together must send for it by that algorithm, per step.
  virtual int64_t ExpectedBytes(int index) const = 0;
};

}  // namespace tp
