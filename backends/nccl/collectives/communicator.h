// Communicator: an NCCL communicator that neither its start nor its use can block for ever.
//
// It is non-blocking (ncclConfig_t::blocking = 0): every call may return ncclInProgress, and Finish
// waits for it with the deadline. All calls come from the rank's own thread with its device
// current; those that several ranks must make alike are made in the same order. CUDA graphs that
// hold its collectives must be destroyed before it is aborted or destroyed: NCCL waits for that.
#pragma once

#include <nccl.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "backends/nccl/control/control.h"
#include "tp/core/status.h"

namespace tp::nccl {

class Communicator {
 public:
  // Of all ranks of `control`, which also carries NCCL's unique id from rank 0.
  static StatusOr<std::unique_ptr<Communicator>> OfWorld(Control& control,
                                                         std::chrono::milliseconds deadline);
  // Of those ranks of this one that give the same `color`, in the order of `key`.
  StatusOr<std::unique_ptr<Communicator>> Split(int color, int key);

  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  ncclComm_t get() const { return comm_; }
  int rank() const { return rank_; }
  int size() const { return size_; }

  // Waits for what `call` began. Errors: the call's; DEADLINE_EXCEEDED; another rank's.
  Status Finish(ncclResult_t result, const char* call);
  // An error that NCCL found since, on its own threads.
  Status AsyncError() const;

  // Hands over the communicator, to be aborted; afterwards nothing else may be called here.
  ncclComm_t Release() { return std::exchange(comm_, nullptr); }
  // Ends what is under way on the device, and waits until no graph refers to `comm`.
  static void Abort(ncclComm_t comm);

 private:
  Communicator(const Control& control, std::chrono::milliseconds deadline)
      : control_(control), deadline_(deadline) {}
  // Waits until the communicator itself is there.
  Status FinishInit(ncclResult_t result, const char* call);

  const Control& control_;
  const std::chrono::milliseconds deadline_;
  ncclComm_t comm_ = nullptr;
  int rank_ = 0;
  int size_ = 0;
};

}  // namespace tp::nccl
