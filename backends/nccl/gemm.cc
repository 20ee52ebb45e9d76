#include "backends/nccl/gemm.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "backends/nccl/error.h"
#include "backends/nccl/kernels.h"
#include "backends/nccl/thin_gemm.h"

namespace tp::nccl {
namespace {

constexpr int kMostCandidates = 16;

cudaDataType_t TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return CUDA_R_64F;
    case DType::kFloat32:
      return CUDA_R_32F;
    case DType::kBFloat16:
      return CUDA_R_16BF;
    case DType::kFloat16:
      return CUDA_R_16F;
  }
  LOG(FATAL) << "no such type: " << static_cast<int>(dtype);
}

cublasComputeType_t ComputeTypeOf(DType dtype, bool tf32) {
  if (dtype == DType::kFloat64) return CUBLAS_COMPUTE_64F;
  return dtype == DType::kFloat32 && tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

// How cuBLASLt, which counts along columns, is told of a matrix: as it lies, or transposed.
struct Storage {
  bool transposed = false;
  int64_t rows = 0;  // as it lies
  int64_t columns = 0;
  int64_t leading = 0;
};

std::optional<Storage> StorageOf(const DeviceMatrix& m) {
  const auto along = [](const DeviceMatrix& x, bool transposed) {
    const int64_t least = std::max<int64_t>(x.rows, 1);
    return Storage{transposed, x.rows, x.columns,
                   x.columns > 1 ? std::max(x.column_stride, least) : least};
  };
  if (m.row_stride == 1 || (m.rows == 1 && m.column_stride != 1)) return along(m, false);
  if (m.column_stride == 1 || m.columns == 1) return along(m.Transposed(), true);
  return std::nullopt;
}

uint32_t AlignmentOf(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  return static_cast<uint32_t>(std::min<uintptr_t>(256, address & (~address + 1)));
}

Status MakeLayout(cublasLtMatrixLayout_t* layout, DType dtype, const Storage& storage) {
  TP_CUBLAS(cublasLtMatrixLayoutCreate(layout, TypeOf(dtype), storage.rows, storage.columns,
                                       storage.leading));
  return OkStatus();
}

template <typename T>
Status Set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, T value) {
  TP_CUBLAS(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof(value)));
  return OkStatus();
}

template <typename T>
Status Set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
           T value) {
  TP_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
  return OkStatus();
}

Status NeitherWay(const char* name, const DeviceMatrix& m) {
  return InvalidArgument(
      fmt::format("matrix {} [{}, {}] has strides {} and {}; a product needs one of them to be 1",
                  name, m.rows, m.columns, m.row_stride, m.column_stride));
}

}  // namespace

StatusOr<std::unique_ptr<Gemm>> Gemm::Plan(const GemmContext& context, const DeviceMatrix& a,
                                           const DeviceMatrix& b, const DeviceMatrix& c,
                                           const std::optional<DeviceMatrix>& bias,
                                           const GemmOptions& options) {
  std::unique_ptr<Gemm> gemm(new Gemm(context, c, bias));
  if (c.empty() || a.columns == 0) return gemm;
  // cuBLASLt's D lies along its rows. A c that lies along columns is computed as its transpose.
  const bool c_down = c.column_stride != 1;
  const DeviceMatrix left = c_down ? a : b.Transposed();
  const DeviceMatrix right = c_down ? b : a.Transposed();
  const DeviceMatrix d = c_down ? c : c.Transposed();
  gemm->bias_by_ = !bias ? BiasBy::kNobody : BiasBy::kEpilogue;
  if (bias && c_down) {
    // The bias runs along D's columns. Told of c's transpose, stored by rows, it runs along its
    // rows again; not every cuBLASLt takes that.
    TP_RETURN_IF_ERROR(
        gemm->Describe(b.Transposed(), a.Transposed(), c.Transposed(), true, true, options));
    TP_RETURN_IF_ERROR(gemm->AskForAlgorithms());
    if (gemm->candidates() > 0) {
      gemm->OfferThin(a, b, options);
      return gemm;
    }
    gemm->Release();
    gemm->bias_by_ = BiasBy::kPrefill;
  }
  TP_RETURN_IF_ERROR(
      gemm->Describe(left, right, d, false, gemm->bias_by_ == BiasBy::kEpilogue, options));
  TP_RETURN_IF_ERROR(gemm->AskForAlgorithms());
  if (gemm->candidates() == 0) {
    return Internal(fmt::format("cuBLASLt knows no algorithm for {}", gemm->signature()));
  }
  gemm->OfferThin(a, b, options);
  return gemm;
}

void Gemm::OfferThin(const DeviceMatrix& a, const DeviceMatrix& b, const GemmOptions& options) {
  if (options.tf32 || !IsThin(a, b, c_, bias_)) return;
  thin_ = Thin{a, b};
  signature_ += " thin";
}

Status Gemm::Describe(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& d,
                      bool row_order, bool bias_in_epilogue, const GemmOptions& options) {
  const std::optional<Storage> a_storage = StorageOf(a);
  const std::optional<Storage> b_storage = StorageOf(b);
  std::optional<Storage> d_storage = StorageOf(row_order ? d.Transposed() : d);
  if (!a_storage) return NeitherWay("a", a);
  if (!b_storage) return NeitherWay("b", b);
  if (!d_storage || d_storage->transposed) return NeitherWay("c", c_);
  if (row_order) std::swap(d_storage->rows, d_storage->columns);
  a_ = a.data;
  b_ = b.data;
  const DType dtype = c_.dtype;
  const DType scale = AccumulatorOf(dtype);
  TP_CUBLAS(
      cublasLtMatmulDescCreate(&operation_, ComputeTypeOf(dtype, options.tf32), TypeOf(scale)));
  TP_RETURN_IF_ERROR(Set(operation_, CUBLASLT_MATMUL_DESC_TRANSA,
                         a_storage->transposed ? CUBLAS_OP_T : CUBLAS_OP_N));
  TP_RETURN_IF_ERROR(Set(operation_, CUBLASLT_MATMUL_DESC_TRANSB,
                         b_storage->transposed ? CUBLAS_OP_T : CUBLAS_OP_N));
  if (bias_in_epilogue) {
    TP_RETURN_IF_ERROR(Set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS));
    TP_RETURN_IF_ERROR(
        Set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias_->data)));
    TP_RETURN_IF_ERROR(
        Set(operation_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(TypeOf(dtype))));
  }
  TP_RETURN_IF_ERROR(MakeLayout(&a_layout_, dtype, *a_storage));
  TP_RETURN_IF_ERROR(MakeLayout(&b_layout_, dtype, *b_storage));
  TP_RETURN_IF_ERROR(MakeLayout(&d_layout_, dtype, *d_storage));
  if (row_order) {
    const auto order = static_cast<int32_t>(CUBLASLT_ORDER_ROW);
    TP_CUBLAS(cublasLtMatrixLayoutSetAttribute(d_layout_, CUBLASLT_MATRIX_LAYOUT_ORDER, &order,
                                               sizeof(order)));
  }
  signature_ =
      fmt::format("{} {}{} {}x{}x{} ld {} {} {} align {} {} {}{}{}", Name(dtype),
                  a_storage->transposed ? "T" : "N", b_storage->transposed ? "T" : "N", d.rows,
                  d.columns, a.columns, a_storage->leading, b_storage->leading, d_storage->leading,
                  AlignmentOf(a_), AlignmentOf(b_), AlignmentOf(c_.data),
                  bias_in_epilogue ? " bias" : "", row_order ? " by rows" : "");
  return OkStatus();
}

Status Gemm::SetAlignments(cublasLtMatmulPreference_t preference) const {
  TP_RETURN_IF_ERROR(Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, AlignmentOf(a_)));
  TP_RETURN_IF_ERROR(Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, AlignmentOf(b_)));
  TP_RETURN_IF_ERROR(
      Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, AlignmentOf(c_.data)));
  return Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, AlignmentOf(c_.data));
}

Status Gemm::AskForAlgorithms() {
  cublasLtMatmulPreference_t preference = nullptr;
  TP_CUBLAS(cublasLtMatmulPreferenceCreate(&preference));
  std::vector<cublasLtMatmulHeuristicResult_t> found(kMostCandidates);
  int count = 0;
  const auto ask = [&]() -> Status {
    TP_RETURN_IF_ERROR(Set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                           static_cast<uint64_t>(context_.workspace_bytes)));
    // Parts of a split contraction may only meet in the accumulator's type. cuBLASLt rounds their
    // sum before it adds a bias, and again after: then nothing is split, unless the type rounds
    // nothing.
    const bool rounds_twice = bias_by_ == BiasBy::kEpilogue && AccumulatorOf(c_.dtype) != c_.dtype;
    const auto reduction =
        rounds_twice ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    TP_RETURN_IF_ERROR(Set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                           static_cast<uint32_t>(reduction)));
    TP_RETURN_IF_ERROR(SetAlignments(preference));
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        context_.handle, operation_, a_layout_, b_layout_, d_layout_, d_layout_, preference,
        kMostCandidates, found.data(), &count);
    // That there is none is for the caller to judge.
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
      count = 0;
      return OkStatus();
    }
    return FromCublas(status, "cublasLtMatmulAlgoGetHeuristic");
  };
  const Status asked = ask();
  cublasLtMatmulPreferenceDestroy(preference);
  TP_RETURN_IF_ERROR(asked);
  for (int i = 0; i < count; ++i) {
    if (found[i].state == CUBLAS_STATUS_SUCCESS) algorithms_.push_back(found[i].algo);
  }
  return OkStatus();
}

void Gemm::Release() {
  if (operation_ != nullptr) cublasLtMatmulDescDestroy(std::exchange(operation_, nullptr));
  for (cublasLtMatrixLayout_t* layout : {&a_layout_, &b_layout_, &d_layout_}) {
    if (*layout != nullptr) cublasLtMatrixLayoutDestroy(std::exchange(*layout, nullptr));
  }
}

Gemm::~Gemm() { Release(); }

Status Gemm::Run(cudaStream_t stream) const {
  if (c_.empty()) return OkStatus();
  if (algorithms_.empty()) {
    if (bias_) {
      TP_CUDA(BroadcastBias(*bias_, c_, stream));
    } else {
      TP_CUDA(Zero(c_, stream));
    }
    return OkStatus();
  }
  if (chosen_ == static_cast<int>(algorithms_.size())) {
    return FromCuda(ThinGemm(thin_->a, thin_->b, c_, bias_, stream), "ThinGemm");
  }
  const bool prefill = bias_by_ == BiasBy::kPrefill;
  if (prefill) TP_CUDA(BroadcastBias(*bias_, c_, stream));
  const double one64 = 1, zero64 = 0;
  const float one32 = 1, zero32 = 0;
  const bool is_double = c_.dtype == DType::kFloat64;
  const void* one = is_double ? static_cast<const void*>(&one64) : &one32;
  const void* zero = is_double ? static_cast<const void*>(&zero64) : &zero32;
  TP_CUBLAS(cublasLtMatmul(context_.handle, operation_, one, a_, a_layout_, b_, b_layout_,
                           prefill ? one : zero, c_.data, d_layout_, c_.data, d_layout_,
                           &algorithms_[chosen_], context_.workspace, context_.workspace_bytes,
                           stream));
  return OkStatus();
}

}  // namespace tp::nccl
