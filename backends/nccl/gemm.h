// Gemm: one matrix product of a Schedule, planned once, through cuBLASLt, or by a kernel of
// thin_gemm.h where that is faster.
//
// c = a b [+ bias on each row], for matrices that lie along rows or along columns, each its own
// way. fp64 computes in fp64; fp32 in fp32, or with its inputs rounded to tf32 where asked; bf16
// and fp16 in fp32, with one rounding at the store. The bias is added in cuBLASLt's epilogue where
// c lies along columns, or where cuBLASLt takes a bias along c's other direction; else by a kernel
// after it. A product over no elements is zero [+ bias], and an empty c is left alone.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/nccl/matrix.h"
#include "tp/core/status.h"

namespace tp::nccl {

// What all products of a rank share. Those that share a workspace run one after the other.
struct GemmContext {
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
};

struct GemmOptions {
  bool tf32 = false;
};

class Gemm {
 public:
  // a [m, k], b [k, n], c [m, n], `bias` [1, n] packed or absent; one dtype. At first the candidate
  // that cuBLASLt ranks first is chosen. Errors: INVALID_ARGUMENT for a matrix that lies along
  // neither direction; INTERNAL where cuBLASLt knows no way.
  static StatusOr<std::unique_ptr<Gemm>> Plan(const GemmContext& context, const DeviceMatrix& a,
                                              const DeviceMatrix& b, const DeviceMatrix& c,
                                              const std::optional<DeviceMatrix>& bias,
                                              const GemmOptions& options);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // How many algorithms there are to choose from; 0 where nothing is multiplied.
  int candidates() const { return static_cast<int>(algorithms_.size()) + (thin_ ? 1 : 0); }
  void Choose(int candidate) { chosen_ = candidate; }

  // Equal for products that have the same candidates.
  const std::string& signature() const { return signature_; }

  // Enqueues the product on `stream`.
  Status Run(cudaStream_t stream) const;

 private:
  enum class BiasBy { kNobody, kEpilogue, kPrefill };

  // a and b of a product that is also one for ThinGemm.
  struct Thin {
    DeviceMatrix a, b;
  };

  Gemm(const GemmContext& context, const DeviceMatrix& c, const std::optional<DeviceMatrix>& bias)
      : context_(context), c_(c), bias_(bias) {}
  Status Describe(const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& d,
                  bool row_order, bool bias_in_epilogue, const GemmOptions& options);
  // Fills algorithms_; none is no error.
  Status AskForAlgorithms();
  void OfferThin(const DeviceMatrix& a, const DeviceMatrix& b, const GemmOptions& options);
  Status SetAlignments(cublasLtMatmulPreference_t preference) const;
  void Release();

  const GemmContext context_;
  const DeviceMatrix c_;
  const std::optional<DeviceMatrix> bias_;
  BiasBy bias_by_ = BiasBy::kNobody;
  const void* a_ = nullptr;  // cuBLASLt's A: c's transpose is computed where c lies along columns
  const void* b_ = nullptr;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t a_layout_ = nullptr, b_layout_ = nullptr, d_layout_ = nullptr;
  std::vector<cublasLtMatmulAlgo_t> algorithms_;
  std::optional<Thin> thin_;  // the last candidate
  int chosen_ = 0;
  std::string signature_;
};

}  // namespace tp::nccl
