// Running error bounds: how far an implementation may be from the reference, element by element.
//
// Each value of the reference has a bound here, and the two are propagated together: within a step,
// an operation's bound is what its operands' bounds become by it, plus its own roundings (Higham,
// "Accuracy and Stability of Numerical Algorithms", section 3.3). From step to step the weights'
// error is carried on by the exact step (spectrum.h), which keeps it where training is stable, and
// grows by what the step rounds, from the weights that it really started with. The reference's own
// roundings, in double precision, are part of the bound. docs/numerics.md has the formulas.
#pragma once

#include <vector>

#include "tp/verify/bounds.h"
#include "tp/verify/panel.h"
#include "tp/verify/reference.h"

namespace tp::verify {

// How the contractions of `model` are cut.
Splits SplitsOf(const NumericModel& model);

// What the roundings of one operation cost, for a problem's sizes and a model.
class ErrorModel {
 public:
  ErrorModel(const ReferenceInputs& inputs, const NumericModel& model, int steps);

  const NumericModel& model() const { return model_; }
  const ContractionError& y() const { return y_; }
  const ContractionError& dx() const { return dx_; }
  const ContractionError& dw() const { return dw_; }

  // E of bounds.h for the product of `a` with `values`, both exact.
  Panel Accumulated(const MatrixView& a, const Panel& values, const ContractionError& cost) const;
  // What one operand, multiplied by one, adds to E. `terms` is the length of the reference's sum.
  double Operand(double value, double error, const ContractionError& cost, int64_t terms) const;
  // From E to the bound; `shares` is S.
  double Reduced(double accumulated, double shares, const ContractionError& cost) const;

  // Bounds of Y = X W^T + b. The bias may be added in the accumulator or after the store.
  double OutputError(double y, double accumulated, double shares, double bias) const;
  // Bounds of dY = 2 s (Y - T), where |Y - T| is at most `residual`.
  double LossGradientError(double residual, double y_error) const;
  // What rounding makes of a parameter in an update, where |updated|, |gradient| and the gradient's
  // error are at most these.
  double UpdateError(double updated, double gradient, double gradient_error) const;

  // What an error of the weights, of a 2-norm of 1, can become by one step without rounding.
  double growth() const { return growth_; }
  // The 2-norm of row `m` of [X 1].
  double row_norm(int64_t m) const { return row_norms_[m]; }
  // |dY| is this times |Y - T|.
  double loss_slope() const { return 2 * scale_; }
  double learning_rate() const { return learning_rate_; }
  double slack() const { return slack_; }

  // Bound of a loss from the sums that LossSum holds.
  double LossError(double squares, double upper, double drift) const;

 private:
  NumericModel model_;
  double scale_;
  double learning_rate_;
  double elements_;  // of Y
  double lambda_;    // of the contractions; 0: deterministic
  double loss_lambda_;
  double store_;  // StoreRoundoff(dtype)
  double wide_;   // unit roundoff of the accumulator's type
  double underflow_;
  double wide_underflow_;
  double slack_;  // what rounding can take off the bound itself
  double growth_ = 1;
  std::vector<double> row_norms_;
  ContractionError y_;
  ContractionError dx_;
  ContractionError dw_;
};

// The bounds of a FeatureReference. Call Compute() after its Compute(), Update() after its
// Update(); dw() and db() are those of the first step.
class FeatureErrors {
 public:
  FeatureErrors(const ReferenceInputs& inputs, const ErrorModel& model);

  void Compute(const FeatureReference& reference);
  void Update(const FeatureReference& reference);

  const Panel& y() const { return y_; }
  const Panel& dw() const { return dw_; }
  const PanelRow& db() const { return db_; }
  const Panel& w() const { return w_; }
  const PanelRow& b() const { return b_; }

 private:
  // |[X 1] e|, where e is the weights' error.
  Panel Drift() const;
  // From the exact updated weights, which are at most `carried` from the reference's.
  void Add(const Panel& carried_w, const PanelRow& carried_b, const FeatureReference& reference);

  const ReferenceInputs& inputs_;
  const ErrorModel& model_;
  Panel w_;
  PanelRow b_ = {};
  PanelRow norm_ = {};  // of each feature's error of w and b together, in the 2-norm
  Panel y_;
  Panel dw_;  // made by the step itself, from the weights that it started with
  PanelRow db_ = {};
  Panel dw_drift_;  // what the weights' error makes of dW
  PanelRow db_drift_ = {};
};

// The bounds of a RowReference.
struct RowErrors {
  RowErrors(const ReferenceInputs& inputs, const ErrorModel& model, const RowReference& reference);

  Panel y;   // [N]
  Panel dx;  // [K]
};

// sum (Y - T)^2 with what its bound needs, one element at a time.
class LossSum {
 public:
  void Add(double residual, double y_error) {
    const double magnitude = residual < 0 ? -residual : residual;
    squares_ += residual * residual;
    drift_ += (2 * magnitude + y_error) * y_error;
    upper_ += (magnitude + y_error) * (magnitude + y_error);
  }
  double squares() const { return squares_; }
  double Bound(const ErrorModel& model) const { return model.LossError(squares_, upper_, drift_); }

 private:
  double squares_ = 0;
  double upper_ = 0;
  double drift_ = 0;
};

}  // namespace tp::verify
