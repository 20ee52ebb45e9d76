// Gemm: one matrix product of a Schedule, planned once, and all the ways to compute it.
//
// c = a b [+ a matrix, or a bias on each row], for matrices that lie along rows or along columns,
// each its own way; or a batch of such products, without a bias and by cuBLASLt as they lie. The
// types compute as LtProduct says. A product over no elements is zero [+ what is added], and an
// empty c is left alone.
//
// The ways are cuBLASLt's algorithms (lt_product.h), with what is added read by them or written to
// c beforehand, and a kernel for thin fp32 matrices (thin_gemm.h). Tensor cores are fed by
// accesses of 16 bytes. A matrix of which the lines do not begin or end at multiples of these, such
// as one of 1023 rows that lies along its columns, leaves cuBLASLt with kernels that are many times
// slower; so a product with such a matrix is also offered with it turned, that is, copied to
// scratch memory in the other direction, where its lines are even. An uneven c is computed there
// and copied back.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/nccl/kernels/lt_product.h"
#include "backends/nccl/kernels/matrix.h"
#include "tp/core/status.h"

namespace tp::nccl {

class Gemm {
 public:
  // a [m, k], b [k, n], c [m, n], `added` a matrix [m, n], a bias [1, n], or absent; one dtype. At
  // first the candidate that cuBLASLt ranks first is chosen. Errors: INVALID_ARGUMENT for a matrix
  // that lies along neither direction; INTERNAL where cuBLASLt knows no way.
  static StatusOr<std::unique_ptr<Gemm>> Plan(const GemmContext& context, const DeviceMatrix& a,
                                              const DeviceMatrix& b, const DeviceMatrix& c,
                                              const std::optional<DeviceMatrix>& added,
                                              const GemmOptions& options, const Batch& batch = {});
  // What a product needs of GemmContext::scratch; without it, nothing is turned.
  static size_t ScratchBytes(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c,
                             const GemmOptions& options);

  // How many there are to choose from; 0 where nothing is multiplied.
  int candidates() const { return static_cast<int>(candidates_.size()); }
  void Choose(int candidate) { chosen_ = candidate; }
  // Adds candidates that differ little from this one, behind the others.
  void OfferNeighbours(int candidate);

  // Equal for products that have the same candidates.
  const std::string& signature() const { return signature_; }
  // "bf16 NT 1024x2048x4096 ...": the way and the algorithm of a candidate, for people.
  std::string Describe(int candidate) const;

  // Enqueues the product on `stream`.
  Status Run(cudaStream_t stream) const;

 private:
  // Where the turned ones of a product's matrices are.
  struct Turned {
    std::optional<DeviceMatrix> a, b, c;
  };
  // One description to cuBLASLt, and what is done before and after it.
  struct Way {
    Turned turned;
    bool begins = false;  // with what is added written to c
    std::unique_ptr<LtProduct> product;
  };
  struct Candidate {
    int way = 0;  // kThin: ThinGemm
    int algorithm = 0;
  };
  static constexpr int kThin = -1;

  Gemm(const GemmContext& context, const DeviceMatrix& a, const DeviceMatrix& b,
       const DeviceMatrix& c, const std::optional<DeviceMatrix>& added, const GemmOptions& options,
       const Batch& batch)
      : context_(context), options_(options), a_(a), b_(b), c_(c), added_(added), batch_(batch) {}
  Status OfferWays(const Turned& turned);
  Status OfferWay(const Turned& turned, LtProduct::Plus plus, bool begins);
  bool AddsMatrix() const { return added_ && (added_->rows > 1 || batch_.count > 1); }
  bool ReadsAdded(const DeviceMatrix& c) const;
  cudaError_t Begin(const DeviceMatrix& c, cudaStream_t stream) const;
  Turned TurnUneven() const;
  static std::string NameOf(const Way& way);
  void OfferThin();

  const GemmContext context_;
  const GemmOptions options_;
  const DeviceMatrix a_, b_, c_;
  const std::optional<DeviceMatrix> added_;
  const Batch batch_;
  std::vector<Way> ways_;
  std::vector<Candidate> candidates_;
  int chosen_ = 0;
  std::string signature_;
};

}  // namespace tp::nccl
