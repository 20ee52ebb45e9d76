// CUDA's, cuBLAS' and NCCL's errors as Status: the call, and the library's own text.
//
// The rank is added where ranks meet (control.h). TP_CUDA(cudaFree(p)) and TP_CUBLAS(...) return
// the error from the enclosing function; NCCL's calls go through Communicator::Finish, since they
// may still be in progress.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include "tp/core/status.h"

namespace tp::nccl {

Status FromCuda(cudaError_t error, const char* call);
Status FromCublas(cublasStatus_t error, const char* call);
// `comm` may be null.
Status FromNccl(ncclResult_t error, ncclComm_t comm, const char* call);

}  // namespace tp::nccl

#define TP_CUDA(call) TP_RETURN_IF_ERROR(::tp::nccl::FromCuda((call), #call))
#define TP_CUBLAS(call) TP_RETURN_IF_ERROR(::tp::nccl::FromCublas((call), #call))
