// The independent reference: training steps of one linear layer, in double precision, plain loops.
//
//   Y = X W^T + b      loss = s * sum (Y - T)^2      dY = 2 s (Y - T)
//   dX = dY W          dW = dY^T X                   db = column sums of dY
//   W <- W - lr dW     b <- b - lr db                the same X and T in every step
//
// It shares no code with a layer, a kernel or a collective. Each output feature evolves apart from
// all others (column n of Y, row n of dW and W, element n of db and b), and row m of dX at the
// first step needs row m of Y alone; so a large problem can be checked on whole features and whole
// rows at a fraction of the cost, with nothing left out of those.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/core/status.h"
#include "tp/verify/panel.h"

namespace tp::verify {

// The inputs of the run that is verified, already rounded to its element type.
struct LinearProblem {
  HostTensor x;        // [M, K] tokens, in_features
  HostTensor targets;  // [M, N] tokens, out_features
  HostTensor w;        // [N, K]
  HostTensor b;        // [N]
  double learning_rate = 0.01;
  int steps = 1;
  std::optional<double> loss_scale;  // 1 / (M N), the mean, where not given

  int64_t tokens() const { return x.shape()[0]; }
  int64_t in_features() const { return x.shape()[1]; }
  int64_t out_features() const { return w.shape()[0]; }
  double scale() const;
};

// Errors: shapes that don't fit together or are empty, NaN or infinity in a tensor or a number,
// steps < 1.
Status Validate(const LinearProblem& problem);

// Over how many ranks each contraction is cut. It changes no value, only what is known about the
// shares: the size of the ranks' partial sums, which the bounds need.
struct Splits {
  int y = 1;   // K
  int dx = 1;  // N
  int dw = 1;  // M, of db too
};

// The value of a contraction, and the sum over the ranks of the absolute value of their shares.
struct SplitSum {
  Panel value;
  Panel shares;
};

// The problem in double precision. Borrows nothing: the problem may go.
class ReferenceInputs {
 public:
  // `problem` must be valid.
  explicit ReferenceInputs(const LinearProblem& problem);

  int64_t tokens() const { return tokens_; }
  int64_t in_features() const { return in_features_; }
  int64_t out_features() const { return out_features_; }
  double scale() const { return scale_; }
  double learning_rate() const { return learning_rate_; }
  double b(int64_t n) const { return b_[n]; }
  double target(int64_t m, int64_t n) const { return targets_[m * out_features_ + n]; }

  MatrixView x() const { return {x_.data(), tokens_, in_features_, in_features_, 1}; }
  MatrixView x_transposed() const { return {x_.data(), in_features_, tokens_, 1, in_features_}; }
  MatrixView w() const { return {w_.data(), out_features_, in_features_, in_features_, 1}; }
  MatrixView w_transposed() const {
    return {w_.data(), in_features_, out_features_, 1, in_features_};
  }

 private:
  int64_t tokens_;
  int64_t in_features_;
  int64_t out_features_;
  double scale_;
  double learning_rate_;
  std::vector<double> x_;
  std::vector<double> targets_;
  std::vector<double> w_;
  std::vector<double> b_;
};

// Up to kPanelWidth output features through all steps. Compute() works out a step from w and b, and
// Update() applies its gradients; in between both the gradients and the old w and b can be read.
class FeatureReference {
 public:
  FeatureReference(const ReferenceInputs& inputs, const Splits& splits,
                   std::span<const int64_t> features);

  void Compute();
  void Update();

  const Panel& w() const { return w_; }  // [K]
  const PanelRow& b() const { return b_; }
  const SplitSum& product() const { return product_; }  // X W^T, before the bias: [M]
  const Panel& y() const { return y_; }                 // [M]
  const Panel& residual() const { return residual_; }   // Y - T
  const Panel& dy() const { return dy_; }               // [M]
  const SplitSum& dw() const { return dw_; }            // [K]
  const PanelRow& db() const { return db_; }
  const PanelRow& db_shares() const { return db_shares_; }

 private:
  const ReferenceInputs& inputs_;
  Splits splits_;
  Panel targets_;
  Panel w_;
  PanelRow b_ = {};
  SplitSum product_;
  Panel y_;
  Panel residual_;
  Panel dy_;
  SplitSum dw_;
  PanelRow db_ = {};
  PanelRow db_shares_ = {};
};

// Up to kPanelWidth tokens through the first step: the rows of dX, and of Y and dY on the way.
class RowReference {
 public:
  RowReference(const ReferenceInputs& inputs, const Splits& splits, std::span<const int64_t> rows);

  const Panel& x() const { return x_; }                 // [K]
  const SplitSum& product() const { return product_; }  // X W^T, before the bias: [N]
  const Panel& y() const { return y_; }                 // [N]
  const Panel& residual() const { return residual_; }   // [N]
  const Panel& dy() const { return dy_; }               // [N]
  const SplitSum& dx() const { return dx_; }            // [K]

 private:
  Panel x_;
  SplitSum product_;
  Panel y_;
  Panel residual_;
  Panel dy_;
  SplitSum dx_;
};

// All of it, unsharded and unrounded; row-major. For small problems.
struct LinearResult {
  std::vector<double> y, dx, dw, db;  // of the first step
  std::vector<double> w, b;           // after the last step
  std::vector<double> losses;         // of each step
};
StatusOr<LinearResult> RunReference(const LinearProblem& problem);

}  // namespace tp::verify
