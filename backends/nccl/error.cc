#include "backends/nccl/error.h"

#include <fmt/format.h>

#include <string>

namespace tp::nccl {

Status FromCuda(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return OkStatus();
  return Internal(
      fmt::format("{}: {} ({})", call, cudaGetErrorString(error), cudaGetErrorName(error)));
}

Status FromCublas(cublasStatus_t error, const char* call) {
  if (error == CUBLAS_STATUS_SUCCESS) return OkStatus();
  return Internal(fmt::format("{}: {} ({})", call, cublasLtGetStatusString(error),
                              cublasLtGetStatusName(error)));
}

Status FromNccl(ncclResult_t error, ncclComm_t comm, const char* call) {
  if (error == ncclSuccess) return OkStatus();
  const char* last = ncclGetLastError(comm);
  const std::string detail = last != nullptr && *last != '\0' ? fmt::format("; {}", last) : "";
  return Internal(fmt::format("{}: {}{}", call, ncclGetErrorString(error), detail));
}

}  // namespace tp::nccl
