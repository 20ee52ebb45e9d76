#include "backends/nccl/collectives/communicator.h"

#include <glog/logging.h>

#include <cstring>
#include <vector>

#include "backends/nccl/control/wait.h"
#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

ncclConfig_t NonBlocking() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return config;
}

StatusOr<ncclUniqueId> ShareUniqueId(Control& control, std::chrono::milliseconds deadline) {
  std::string bytes;
  Status status;
  if (control.rank() == 0) {
    ncclUniqueId id;
    status = FromNccl(ncclGetUniqueId(&id), nullptr, "ncclGetUniqueId");
    if (!status.ok()) return status;
    bytes.assign(reinterpret_cast<const char*>(&id), sizeof(id));
  }
  TP_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                      control.Gather(std::move(bytes), Receivers::kEveryone, deadline));
  ncclUniqueId id;
  CHECK_EQ(all[0].size(), sizeof(id));
  std::memcpy(&id, all[0].data(), sizeof(id));
  return id;
}

}  // namespace

StatusOr<std::unique_ptr<Communicator>> Communicator::OfWorld(Control& control,
                                                              std::chrono::milliseconds deadline) {
  TP_ASSIGN_OR_RETURN(const ncclUniqueId id, ShareUniqueId(control, deadline));
  std::unique_ptr<Communicator> made(new Communicator(control, deadline));
  ncclConfig_t config = NonBlocking();
  const ncclResult_t result =
      ncclCommInitRankConfig(&made->comm_, control.world(), id, control.rank(), &config);
  TP_RETURN_IF_ERROR(made->FinishInit(result, "ncclCommInitRankConfig"));
  return made;
}

StatusOr<std::unique_ptr<Communicator>> Communicator::Split(int color, int key) {
  std::unique_ptr<Communicator> made(new Communicator(control_, deadline_));
  ncclConfig_t config = NonBlocking();
  // NCCL fills in made->comm_ while the split is in progress here.
  TP_RETURN_IF_ERROR(
      Finish(ncclCommSplit(comm_, color, key, &made->comm_, &config), "ncclCommSplit"));
  TP_RETURN_IF_ERROR(made->FinishInit(ncclSuccess, "ncclCommSplit"));
  return made;
}

Communicator::~Communicator() {
  if (comm_ == nullptr) return;
  if (Finish(ncclCommFinalize(comm_), "ncclCommFinalize").ok()) {
    ncclCommDestroy(comm_);
  } else {
    Abort(Release());
  }
}

Status Communicator::FinishInit(ncclResult_t result, const char* call) {
  TP_RETURN_IF_ERROR(Finish(result, call));
  TP_RETURN_IF_ERROR(FromNccl(ncclCommUserRank(comm_, &rank_), comm_, "ncclCommUserRank"));
  return FromNccl(ncclCommCount(comm_, &size_), comm_, "ncclCommCount");
}

Status Communicator::Finish(ncclResult_t result, const char* call) {
  if (result != ncclSuccess && result != ncclInProgress) {
    return FromNccl(result, comm_, call);
  }
  return WaitUntil(control_, deadline_, call, [&]() -> StatusOr<bool> {
    ncclResult_t state = ncclInProgress;
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
    if (asked == ncclSuccess && state == ncclInProgress) return false;
    const ncclResult_t error = asked == ncclSuccess ? state : asked;
    if (error != ncclSuccess) return FromNccl(error, comm_, call);
    return true;
  });
}

Status Communicator::AsyncError() const {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
  const ncclResult_t error = asked == ncclSuccess ? state : asked;
  if (error == ncclSuccess || error == ncclInProgress) return OkStatus();
  return FromNccl(error, comm_, "a collective");
}

void Communicator::Abort(ncclComm_t comm) {
  if (comm != nullptr) ncclCommAbort(comm);
}

}  // namespace tp::nccl
