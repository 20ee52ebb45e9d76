#include "backends/nccl/kernels/lt_product.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstring>

#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

constexpr int kMostAsked = 16;
// cublasLtClusterShape_t: those of up to four blocks.
constexpr uint16_t kClusters[] = {CUBLASLT_CLUSTER_SHAPE_1x1x1, CUBLASLT_CLUSTER_SHAPE_2x1x1,
                                  CUBLASLT_CLUSTER_SHAPE_4x1x1, CUBLASLT_CLUSTER_SHAPE_1x2x1,
                                  CUBLASLT_CLUSTER_SHAPE_2x2x1, CUBLASLT_CLUSTER_SHAPE_1x4x1};
constexpr int32_t kSplits[] = {2, 3, 4, 5, 6, 8, 10, 12, 16};

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
    case DType::kInt32:
      break;
  }
  LOG(FATAL) << "no such type: " << static_cast<int>(dtype);
}

cublasComputeType_t ComputeTypeOf(DType dtype, bool tf32) {
  if (dtype == DType::kFloat64) return CUBLAS_COMPUTE_64F;
  return dtype == DType::kFloat32 && tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

// Of all matrices of a batch.
uint32_t AlignmentOf(const void* pointer, int64_t bytes_to_next = 0) {
  const auto address = reinterpret_cast<uintptr_t>(pointer) | static_cast<uintptr_t>(bytes_to_next);
  return static_cast<uint32_t>(std::min<uintptr_t>(256, address & (~address + 1)));
}

template <typename T>
Status Set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, T value) {
  TP_CUBLAS(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof(value)));
  return OkStatus();
}

template <typename T>
Status Set(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, T value) {
  TP_CUBLAS(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof(value)));
  return OkStatus();
}

template <typename T>
Status Set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
           T value) {
  TP_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
  return OkStatus();
}

// Settings that an algorithm lacks are left as they are.
template <typename T>
cublasLtMatmulAlgo_t With(cublasLtMatmulAlgo_t algorithm,
                          cublasLtMatmulAlgoConfigAttributes_t attribute, T value) {
  cublasLtMatmulAlgoConfigSetAttribute(&algorithm, attribute, &value, sizeof(value));
  return algorithm;
}

template <typename T>
T Get(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value{};
  size_t written = 0;
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(value), &written);
  return value;
}

template <typename T>
T Get(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoCapAttributes_t attribute) {
  T value{};
  size_t written = 0;
  cublasLtMatmulAlgoCapGetAttribute(&algorithm, attribute, &value, sizeof(value), &written);
  return value;
}

std::vector<uint32_t> TilesOf(const cublasLtMatmulAlgo_t& algorithm) {
  size_t bytes = 0;
  cublasLtMatmulAlgoCapGetAttribute(&algorithm, CUBLASLT_ALGO_CAP_TILE_IDS, nullptr, 0, &bytes);
  std::vector<uint32_t> tiles(bytes / sizeof(uint32_t));
  cublasLtMatmulAlgoCapGetAttribute(&algorithm, CUBLASLT_ALGO_CAP_TILE_IDS, tiles.data(), bytes,
                                    &bytes);
  return tiles;
}

Status NeitherWay(const char* name, const DeviceMatrix& m) {
  return InvalidArgument(
      fmt::format("matrix {} [{}, {}] has strides {} and {}; a product needs one of them to be 1",
                  name, m.rows, m.columns, m.row_stride, m.column_stride));
}

}  // namespace

// How cuBLASLt, which counts along columns, is told of a matrix: as it lies, or transposed.
struct LtProduct::Storage {
  bool transposed = false;
  int64_t rows = 0;  // as it lies
  int64_t columns = 0;
  int64_t leading = 0;
};

std::optional<LtProduct::Storage> LtProduct::StorageOf(const DeviceMatrix& m) {
  const auto along = [](const DeviceMatrix& x, bool transposed) {
    const int64_t least = std::max<int64_t>(x.rows, 1);
    return Storage{transposed, x.rows, x.columns,
                   x.columns > 1 ? std::max(x.column_stride, least) : least};
  };
  if (m.row_stride == 1 || (m.rows == 1 && m.column_stride != 1)) return along(m, false);
  if (m.column_stride == 1 || m.columns == 1) return along(m.Transposed(), true);
  return std::nullopt;
}

StatusOr<std::unique_ptr<LtProduct>> LtProduct::Plan(const GemmContext& context,
                                                     const DeviceMatrix& a, const DeviceMatrix& b,
                                                     const DeviceMatrix& c, Plus plus,
                                                     const std::optional<DeviceMatrix>& added,
                                                     const Batch& batch,
                                                     const GemmOptions& options) {
  // cuBLASLt's D lies along its columns. A c that lies along rows is computed as its transpose,
  // down whose columns the bias runs.
  const bool across = c.column_stride == 1;
  CHECK(plus == Plus::kNothing || added) << "nothing to add";
  CHECK(plus != Plus::kBias || across);
  const DeviceMatrix& plus_c = plus == Plus::kMatrix ? *added : c;
  const DeviceMatrix left = across ? b.Transposed() : a;
  const DeviceMatrix right = across ? a.Transposed() : b;
  const std::optional<Storage> a_storage = StorageOf(left);
  const std::optional<Storage> b_storage = StorageOf(right);
  const std::optional<Storage> c_storage = StorageOf(across ? plus_c.Transposed() : plus_c);
  const std::optional<Storage> d_storage = StorageOf(across ? c.Transposed() : c);
  if (!a_storage) return across ? NeitherWay("b", b) : NeitherWay("a", a);
  if (!b_storage) return across ? NeitherWay("a", a) : NeitherWay("b", b);
  if (!d_storage || d_storage->transposed) return NeitherWay("c", c);
  if (!c_storage || c_storage->transposed) return NeitherWay("to add", plus_c);
  std::unique_ptr<LtProduct> product(new LtProduct(context, c.dtype, plus));
  product->a_ = left.data;
  product->b_ = right.data;
  product->c_ = plus_c.data;
  product->d_ = c.data;
  product->a_next_ = (across ? batch.b : batch.a) * SizeOf(c.dtype);
  product->b_next_ = (across ? batch.a : batch.b) * SizeOf(c.dtype);
  const int64_t to_next_c = plus_c.data == c.data ? batch.c : batch.added;
  product->c_next_ = to_next_c * SizeOf(c.dtype);
  product->d_next_ = batch.c * SizeOf(c.dtype);
  TP_RETURN_IF_ERROR(product->MakeOperation(*a_storage, *b_storage, added, options));
  const auto make = [&](cublasLtMatrixLayout_t* layout, const Storage& storage,
                        int64_t to_next) -> Status {
    TP_CUBLAS(cublasLtMatrixLayoutCreate(layout, TypeOf(c.dtype), storage.rows, storage.columns,
                                         storage.leading));
    if (batch.count == 1) return OkStatus();
    TP_RETURN_IF_ERROR(
        Set(*layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(batch.count)));
    return Set(*layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, to_next);
  };
  TP_RETURN_IF_ERROR(make(&product->a_layout_, *a_storage, across ? batch.b : batch.a));
  TP_RETURN_IF_ERROR(make(&product->b_layout_, *b_storage, across ? batch.a : batch.b));
  TP_RETURN_IF_ERROR(make(&product->c_layout_, *c_storage, to_next_c));
  TP_RETURN_IF_ERROR(make(&product->d_layout_, *d_storage, batch.c));
  constexpr const char* kPlus[] = {"", " + bias", " + c"};
  product->signature_ = fmt::format(
      "{} {}{} {}x{}x{} ld {} {} {} align {} {} {}{}{}", Name(c.dtype),
      a_storage->transposed ? "T" : "N", b_storage->transposed ? "T" : "N", d_storage->rows,
      d_storage->columns, a.columns, a_storage->leading, b_storage->leading, d_storage->leading,
      AlignmentOf(left.data), AlignmentOf(right.data), AlignmentOf(c.data),
      kPlus[static_cast<int>(plus)], options.tf32 ? " tf32" : "");
  if (plus == Plus::kMatrix && plus_c.data != c.data) {
    product->signature_ += fmt::format(" ld {} align {} by {}", c_storage->leading,
                                       AlignmentOf(plus_c.data), batch.added);
  }
  if (batch.count > 1) {
    product->signature_ +=
        fmt::format(" batch {} by {} {} {}", batch.count, batch.a, batch.b, batch.c);
  }
  TP_RETURN_IF_ERROR(product->AskForAlgorithms());
  return product;
}

Status LtProduct::MakeOperation(const Storage& a, const Storage& b,
                                const std::optional<DeviceMatrix>& bias,
                                const GemmOptions& options) {
  TP_CUBLAS(cublasLtMatmulDescCreate(&operation_, ComputeTypeOf(dtype_, options.tf32),
                                     TypeOf(AccumulatorOf(dtype_))));
  TP_RETURN_IF_ERROR(
      Set(operation_, CUBLASLT_MATMUL_DESC_TRANSA, a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N));
  TP_RETURN_IF_ERROR(
      Set(operation_, CUBLASLT_MATMUL_DESC_TRANSB, b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N));
  if (plus_ != Plus::kBias) return OkStatus();
  TP_RETURN_IF_ERROR(Set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS));
  TP_RETURN_IF_ERROR(
      Set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias->data)));
  return Set(operation_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(TypeOf(dtype_)));
}

// Parts of a split contraction may only meet in the accumulator's type. cuBLASLt rounds their sum
// before it adds a bias, and again after: then nothing is split, unless the type rounds nothing.
bool LtProduct::SplitsRoundTwice() const {
  return plus_ == Plus::kBias && AccumulatorOf(dtype_) != dtype_;
}

Status LtProduct::SetAlignments(cublasLtMatmulPreference_t preference) const {
  TP_RETURN_IF_ERROR(
      Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, AlignmentOf(a_, a_next_)));
  TP_RETURN_IF_ERROR(
      Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, AlignmentOf(b_, b_next_)));
  TP_RETURN_IF_ERROR(
      Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, AlignmentOf(c_, c_next_)));
  return Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, AlignmentOf(d_, d_next_));
}

Status LtProduct::AskForAlgorithms() {
  cublasLtMatmulPreference_t preference = nullptr;
  TP_CUBLAS(cublasLtMatmulPreferenceCreate(&preference));
  std::vector<cublasLtMatmulHeuristicResult_t> found(kMostAsked);
  int count = 0;
  const auto ask = [&]() -> Status {
    TP_RETURN_IF_ERROR(Set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                           static_cast<uint64_t>(context_.workspace_bytes)));
    const auto reduction = SplitsRoundTwice() ? CUBLASLT_REDUCTION_SCHEME_NONE
                                              : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    TP_RETURN_IF_ERROR(Set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                           static_cast<uint32_t>(reduction)));
    TP_RETURN_IF_ERROR(SetAlignments(preference));
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(context_.handle, operation_, a_layout_, b_layout_, c_layout_,
                                       d_layout_, preference, kMostAsked, found.data(), &count);
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

void LtProduct::OfferIfNew(const cublasLtMatmulAlgo_t& algorithm) {
  const auto same = [&](const cublasLtMatmulAlgo_t& other) {
    return std::memcmp(&algorithm, &other, sizeof(other)) == 0;
  };
  if (std::any_of(algorithms_.begin(), algorithms_.end(), same)) return;
  cublasLtMatmulHeuristicResult_t result;
  const cublasStatus_t status = cublasLtMatmulAlgoCheck(
      context_.handle, operation_, a_layout_, b_layout_, c_layout_, d_layout_, &algorithm, &result);
  if (status != CUBLAS_STATUS_SUCCESS || result.state != CUBLAS_STATUS_SUCCESS) return;
  if (result.workspaceSize <= context_.workspace_bytes) algorithms_.push_back(algorithm);
}

void LtProduct::OfferNeighbours(int algorithm) {
  const cublasLtMatmulAlgo_t base = algorithms_[algorithm];
  for (uint32_t tile : TilesOf(base)) OfferIfNew(With(base, CUBLASLT_ALGO_CONFIG_TILE_ID, tile));
  if (Get<uint16_t>(base, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID) != CUBLASLT_CLUSTER_SHAPE_AUTO) {
    for (uint16_t cluster : kClusters) {
      OfferIfNew(With(base, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, cluster));
    }
  }
  // Of an algorithm that is split, the one with a single part rounds before it adds what was in c,
  // as if it were still to be summed; so what is split stays split, and what is not is not.
  if (Get<int32_t>(base, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) < 2) return;
  for (int32_t splits : kSplits) {
    OfferIfNew(With(base, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, splits));
  }
}

std::string LtProduct::Describe(int algorithm) const {
  const cublasLtMatmulAlgo_t& of = algorithms_[algorithm];
  return fmt::format(
      "algorithm {} tile {} stages {} split {} ({}) cluster {} variant {} swizzle {}",
      Get<int32_t>(of, CUBLASLT_ALGO_CONFIG_ID), Get<uint32_t>(of, CUBLASLT_ALGO_CONFIG_TILE_ID),
      Get<uint32_t>(of, CUBLASLT_ALGO_CONFIG_STAGES_ID),
      Get<int32_t>(of, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
      Get<uint32_t>(of, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME),
      Get<uint16_t>(of, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
      Get<uint32_t>(of, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION),
      Get<uint32_t>(of, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING));
}

LtProduct::~LtProduct() {
  if (operation_ != nullptr) cublasLtMatmulDescDestroy(operation_);
  for (cublasLtMatrixLayout_t layout : {a_layout_, b_layout_, c_layout_, d_layout_}) {
    if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
  }
}

Status LtProduct::Run(int algorithm, cudaStream_t stream) const {
  const double one64 = 1, zero64 = 0;
  const float one32 = 1, zero32 = 0;
  const bool is_double = dtype_ == DType::kFloat64;
  const void* one = is_double ? static_cast<const void*>(&one64) : &one32;
  const void* zero = is_double ? static_cast<const void*>(&zero64) : &zero32;
  TP_CUBLAS(cublasLtMatmul(context_.handle, operation_, one, a_, a_layout_, b_, b_layout_,
                           plus_ == Plus::kMatrix ? one : zero, c_, c_layout_, d_, d_layout_,
                           &algorithms_[algorithm], context_.workspace, context_.workspace_bytes,
                           stream));
  return OkStatus();
}

}  // namespace tp::nccl
