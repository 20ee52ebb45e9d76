// LtProduct: one way to ask cuBLASLt for a matrix product, and the algorithms that it has for it.
//
// c = a b, or c = a b + bias on each row, or c = a b + a matrix, for matrices that lie along rows
// or along columns, each its own way, of one dtype; or a batch of such products. fp64 computes in
// fp64; fp32 in fp32, or with its inputs rounded to tf32 where asked; bf16 and fp16 in fp32, with
// one rounding at the store.
//
// cuBLASLt offers few algorithms by itself (8 on Hopper), the best of them first by its own guess.
// OfferNeighbours adds those that differ from one of them in one setting.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/nccl/kernels/matrix.h"
#include "tp/core/status.h"

namespace tp::nccl {

// What all products of a rank share. Those that share memory run one after the other.
struct GemmContext {
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
  void* scratch = nullptr;  // Gemm::ScratchBytes, aligned to 256, where a product asks for some
};

struct GemmOptions {
  bool tf32 = false;
};

class LtProduct {
 public:
  // What is added to a b.
  enum class Plus { kNothing, kBias, kMatrix };

  // a [m, k], b [k, n], c [m, n], none empty, the first ones of a batch. `added` is a bias [1, n],
  // packed, which needs a c that lies along its rows; or a matrix [m, n] that lies in c's direction
  // and may be c itself. Errors: INVALID_ARGUMENT for a matrix that lies along neither direction,
  // or for one to add that lies otherwise than c. That cuBLASLt has no algorithm is no error.
  static StatusOr<std::unique_ptr<LtProduct>> Plan(const GemmContext& context,
                                                   const DeviceMatrix& a, const DeviceMatrix& b,
                                                   const DeviceMatrix& c, Plus plus,
                                                   const std::optional<DeviceMatrix>& added,
                                                   const Batch& batch, const GemmOptions& options);
  ~LtProduct();
  LtProduct(const LtProduct&) = delete;
  LtProduct& operator=(const LtProduct&) = delete;

  int algorithms() const { return static_cast<int>(algorithms_.size()); }
  // Adds algorithms that differ from `algorithm` in its tile, its cluster, or the number of parts
  // that share the contraction; those that are there already are left out.
  void OfferNeighbours(int algorithm);
  // Equal for products that have the same algorithms.
  const std::string& signature() const { return signature_; }
  // The settings of an algorithm, by cuBLASLt's numbers for them.
  std::string Describe(int algorithm) const;

  // Enqueues the product on `stream`.
  Status Run(int algorithm, cudaStream_t stream) const;

 private:
  struct Storage;

  LtProduct(const GemmContext& context, DType dtype, Plus plus)
      : context_(context), dtype_(dtype), plus_(plus) {}
  static std::optional<Storage> StorageOf(const DeviceMatrix& m);
  Status MakeOperation(const Storage& a, const Storage& b, const std::optional<DeviceMatrix>& bias,
                       const GemmOptions& options);
  Status AskForAlgorithms();
  Status SetAlignments(cublasLtMatmulPreference_t preference) const;
  bool SplitsRoundTwice() const;
  void OfferIfNew(const cublasLtMatmulAlgo_t& algorithm);

  const GemmContext context_;
  const DType dtype_;
  const Plus plus_;
  const void* a_ = nullptr;  // cuBLASLt's A: c's transpose is computed where c lies along rows
  const void* b_ = nullptr;
  const void* c_ = nullptr;  // what is added: d_ where nothing is
  void* d_ = nullptr;
  int64_t a_next_ = 0, b_next_ = 0, c_next_ = 0,
          d_next_ = 0;  // bytes to the next matrix of a batch
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t a_layout_ = nullptr, b_layout_ = nullptr, c_layout_ = nullptr,
                         d_layout_ = nullptr;
  std::vector<cublasLtMatmulAlgo_t> algorithms_;
  std::string signature_;
};

}  // namespace tp::nccl
