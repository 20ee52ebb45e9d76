#include "backends/nccl/kernels/gemm.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "backends/nccl/error.h"
#include "backends/nccl/kernels/kernels.h"
#include "backends/nccl/kernels/thin_gemm.h"

namespace tp::nccl {
namespace {

constexpr int64_t kAccess = 16;            // bytes
constexpr size_t kScratchAlignment = 256;  // bytes

bool OnTensorCores(DType dtype, const GemmOptions& options) {
  return SizeOf(dtype) == 2 || (dtype == DType::kFloat32 && options.tf32);
}

// Whether the lines of m begin and end at multiples of an access.
bool IsEven(const DeviceMatrix& m) {
  const DeviceMatrix lines = m.column_stride == 1 ? m : m.Transposed();
  const int64_t of_access = kAccess / SizeOf(m.dtype);
  return reinterpret_cast<uintptr_t>(m.data) % kAccess == 0 && lines.columns % of_access == 0 &&
         (lines.rows == 1 || lines.row_stride % of_access == 0);
}

// m in the other direction, packed at `data`, where it is uneven as it lies and even like that.
std::optional<DeviceMatrix> TurnIfUneven(const DeviceMatrix& m, void* data) {
  if (IsEven(m) || m.rows == 1 || m.columns == 1) return std::nullopt;
  const bool across = m.column_stride == 1;
  DeviceMatrix turned = m;
  turned.data = data;
  turned.row_stride = across ? 1 : m.columns;
  turned.column_stride = across ? m.rows : 1;
  if (!IsEven(turned)) return std::nullopt;
  return turned;
}

size_t BytesOf(const std::optional<DeviceMatrix>& m) {
  if (!m) return 0;
  const size_t bytes = static_cast<size_t>(m->size()) * SizeOf(m->dtype);
  return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

}  // namespace

size_t Gemm::ScratchBytes(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c,
                          const GemmOptions& options) {
  if (!OnTensorCores(c.dtype, options) || c.empty() || a.columns == 0) return 0;
  size_t bytes = 0;
  for (const DeviceMatrix* m : {&a, &b, &c}) bytes += BytesOf(TurnIfUneven(*m, nullptr));
  return bytes;
}

StatusOr<std::unique_ptr<Gemm>> Gemm::Plan(const GemmContext& context, const DeviceMatrix& a,
                                           const DeviceMatrix& b, const DeviceMatrix& c,
                                           const std::optional<DeviceMatrix>& added,
                                           const GemmOptions& options, const Batch& batch) {
  CHECK(batch.count == 1 || !added || added->rows == c.rows);
  std::unique_ptr<Gemm> gemm(new Gemm(context, a, b, c, added, options, batch));
  if (c.empty() || a.columns == 0) return gemm;
  TP_RETURN_IF_ERROR(gemm->OfferWays({}));
  if (gemm->candidates() == 0) {
    return Internal(fmt::format("cuBLASLt knows no algorithm for {}", gemm->signature()));
  }
  if (batch.count > 1) return gemm;
  if (context.scratch != nullptr && ScratchBytes(a, b, c, options) > 0) {
    TP_RETURN_IF_ERROR(gemm->OfferWays(gemm->TurnUneven()));
  }
  gemm->OfferThin();
  return gemm;
}

Gemm::Turned Gemm::TurnUneven() const {
  auto* place = static_cast<char*>(context_.scratch);
  const auto turn = [&](const DeviceMatrix& m) {
    const std::optional<DeviceMatrix> turned = TurnIfUneven(m, place);
    place += BytesOf(turned);
    return turned;
  };
  Turned turned;
  turned.a = turn(a_);
  turned.b = turn(b_);
  turned.c = turn(c_);
  return turned;
}

// Whether cuBLASLt can read what is added to a product in `c` where it is.
bool Gemm::ReadsAdded(const DeviceMatrix& c) const {
  // A bias is read in the epilogue, packed.
  if (!AddsMatrix()) return c.column_stride == 1 && added_->column_stride == 1;
  return c.column_stride == 1 ? added_->column_stride == 1 : added_->row_stride == 1;
}

// A bias that is in c beforehand lets a type be split that the epilogue would round twice.
Status Gemm::OfferWays(const Turned& turned) {
  using Plus = LtProduct::Plus;
  if (!added_) return OfferWay(turned, Plus::kNothing, /*begins=*/false);
  const bool reads = ReadsAdded(turned.c ? *turned.c : c_);
  if (reads && AddsMatrix()) return OfferWay(turned, Plus::kMatrix, /*begins=*/false);
  if (reads) TP_RETURN_IF_ERROR(OfferWay(turned, Plus::kBias, /*begins=*/false));
  if (reads && AccumulatorOf(c_.dtype) == c_.dtype) return OkStatus();
  return OfferWay(turned, Plus::kMatrix, /*begins=*/true);
}

Status Gemm::OfferWay(const Turned& turned, LtProduct::Plus plus, bool begins) {
  Way way{turned, begins, nullptr};
  const DeviceMatrix& c = turned.c ? *turned.c : c_;
  TP_ASSIGN_OR_RETURN(
      way.product, LtProduct::Plan(context_, turned.a ? *turned.a : a_, turned.b ? *turned.b : b_,
                                   c, plus, begins ? std::optional(c) : added_, batch_, options_));
  if (!signature_.empty()) signature_ += "; ";
  signature_ += NameOf(way);
  const int index = static_cast<int>(ways_.size());
  for (int i = 0; i < way.product->algorithms(); ++i) candidates_.push_back({index, i});
  ways_.push_back(std::move(way));
  return OkStatus();
}

std::string Gemm::NameOf(const Way& way) {
  return way.product->signature() + (way.turned.a ? ", a turned" : "") +
         (way.turned.b ? ", b turned" : "") + (way.turned.c ? ", c turned" : "");
}

void Gemm::OfferThin() {
  if (options_.tf32 || AddsMatrix() || !IsThin(a_, b_, c_, added_)) return;
  candidates_.push_back({kThin, 0});
  signature_ += "; thin";
}

void Gemm::OfferNeighbours(int candidate) {
  const auto [way, algorithm] = candidates_[candidate];
  signature_ += fmt::format("; near {}", candidate);
  if (way == kThin) return;
  LtProduct& product = *ways_[way].product;
  const int before = product.algorithms();
  product.OfferNeighbours(algorithm);
  for (int i = before; i < product.algorithms(); ++i) candidates_.push_back({way, i});
}

std::string Gemm::Describe(int candidate) const {
  const auto [way, algorithm] = candidates_[candidate];
  if (way == kThin) return fmt::format("thin {}x{}x{}", c_.rows, c_.columns, a_.columns);
  return NameOf(ways_[way]) + ": " + ways_[way].product->Describe(algorithm);
}

// Writes to all of the batch's c what a sum of no products is.
cudaError_t Gemm::Begin(const DeviceMatrix& c, cudaStream_t stream) const {
  DeviceMatrix to = c;
  DeviceMatrix from = added_.value_or(DeviceMatrix{});
  for (int64_t i = 0; i < batch_.count; ++i) {
    const cudaError_t error = AddsMatrix() ? Copy(from, to, stream)
                              : added_     ? BroadcastBias(from, to, stream)
                                           : Zero(to, stream);
    if (error != cudaSuccess) return error;
    to.data = static_cast<char*>(to.data) + batch_.c * SizeOf(c_.dtype);
    from.data = static_cast<char*>(from.data) + batch_.added * SizeOf(c_.dtype);
  }
  return cudaSuccess;
}

Status Gemm::Run(cudaStream_t stream) const {
  if (c_.empty()) return OkStatus();
  if (candidates_.empty()) return FromCuda(Begin(c_, stream), "a product over no elements");
  const auto [index, algorithm] = candidates_[chosen_];
  if (index == kThin) {
    return FromCuda(ThinGemm(a_, b_, c_, added_, stream), "ThinGemm");
  }
  const Way& way = ways_[index];
  const Turned& turned = way.turned;
  const DeviceMatrix& c = turned.c ? *turned.c : c_;
  if (turned.a) TP_CUDA(Copy(a_, *turned.a, stream));
  if (turned.b) TP_CUDA(Copy(b_, *turned.b, stream));
  if (way.begins) TP_CUDA(Begin(c, stream));
  TP_RETURN_IF_ERROR(way.product->Run(algorithm, stream));
  if (turned.c) TP_CUDA(Copy(c, c_, stream));
  return OkStatus();
}

}  // namespace tp::nccl
