#include "tp/verify/errors.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tp/core/shard_geometry.h"
#include "tp/verify/spectrum.h"

namespace tp::verify {
namespace {

constexpr double kDoubleRoundoff = 0x1p-53;
constexpr double kDoubleUnderflow = std::numeric_limits<double>::denorm_min();

// Roundings of 2 s (Y - T) in the accumulator's type: the difference, two for s = 1 / (M N), the
// product.
constexpr int kLossGradientRoundings = 4;
// Roundings of a term of the loss beside those of the sum: the difference counts twice in a square,
// then the square, two for s, its product, and two more for an average over dp.
constexpr int kLossTermRoundings = 8;

// What a sharp bound on the growth of errors may cost: a fraction of a second.
constexpr double kSpectrumMultiplyAdds = 2e8;

// Of the rows of [x 1], in the 2-norm.
std::vector<double> RowNorms(const MatrixView& x) {
  std::vector<double> norms(x.rows);
  for (int64_t i = 0; i < x.rows; ++i) {
    double squares = 1;
    for (int64_t j = 0; j < x.columns; ++j) {
      const double element = x.data[i * x.row_stride + j * x.column_stride];
      squares += element * element;
    }
    norms[i] = std::sqrt(squares);
  }
  return norms;
}

// The longest share of `size` over `parts`, with one more addition where a bias joins. Blocks of
// the invariant order meet before they are rounded: the tree adds to a share what is no depth.
Contraction Share(const NumericModel& model, int64_t size, int parts, int depth, int extra_terms) {
  if (model.sum_order == SumOrder::kInvariant) {
    parts = kSumBlocks;
    depth = 0;
    extra_terms += kSumTreeDepth;
  }
  return Contraction{.terms = ShardGeometry(size, parts).Length(0) + extra_terms,
                     .parts = parts,
                     .depth = parts > 1 ? depth : 0,
                     .dtype = model.dtype,
                     .accumulator_roundoff = model.accumulator_roundoff,
                     .operand_roundoff = model.operand_roundoff};
}

}  // namespace

Splits SplitsOf(const NumericModel& model) {
  if (model.sum_order == SumOrder::kInvariant) return Splits();  // no rank's share is rounded
  const bool column = model.mode == Mode::kColumn;
  return Splits{.y = column ? model.tp : 1, .dx = column ? 1 : model.tp, .dw = model.dp};
}

ErrorModel::ErrorModel(const ReferenceInputs& inputs, const NumericModel& model, int steps)
    : model_(model),
      scale_(std::abs(inputs.scale())),
      learning_rate_(std::abs(inputs.learning_rate())),
      elements_(static_cast<double>(inputs.tokens()) * static_cast<double>(inputs.out_features())),
      store_(StoreRoundoff(model.dtype)),
      wide_(UnitRoundoff(AccumulatorOf(model.dtype))),
      underflow_(UnderflowUnit(model.dtype)),
      wide_underflow_(UnderflowUnit(AccumulatorOf(model.dtype))) {
  // Three contractions and the elementwise work, in each step.
  const double roundings =
      steps * elements_ * (3.0 * static_cast<double>(inputs.in_features()) + kLossTermRoundings);
  lambda_ = model.probabilistic ? Lambda(roundings, kRisk, model.accumulator_roundoff) : 0;
  loss_lambda_ = Lambda(roundings, kRisk, wide_);  // no tensor core takes part in the loss
  const Splits splits = SplitsOf(model);
  y_ = ErrorOf(Share(model, inputs.in_features(), splits.y, model.tp_depth, 1), lambda_);
  dx_ = ErrorOf(Share(model, inputs.out_features(), splits.dx, model.tp_depth, 0), lambda_);
  dw_ = ErrorOf(Share(model, inputs.tokens(), splits.dw, model.dp_depth, 0), lambda_);
  const int64_t longest = std::max({inputs.in_features(), inputs.out_features(), inputs.tokens()});
  slack_ = 1 + Gamma(static_cast<double>(longest) + 64, kDoubleRoundoff);
  if (steps == 1) return;
  const double rate = 2 * inputs.scale() * inputs.learning_rate();
  growth_ = GrowthBound(rate, QuickEigenvalueBound(inputs.x()));
  if (growth_ > 1) growth_ = GrowthBound(rate, EigenvalueBound(inputs.x(), kSpectrumMultiplyAdds));
  row_norms_ = RowNorms(inputs.x());
}

double ErrorModel::Operand(double value, double error, const ContractionError& cost,
                           int64_t terms) const {
  const auto roundings = static_cast<double>(terms + model_.tp + model_.dp);
  return (cost.accumulate + Gamma(roundings, kDoubleRoundoff)) * std::abs(value) +
         (1 + cost.accumulate) * error;
}

Panel ErrorModel::Accumulated(const MatrixView& a, const Panel& values,
                              const ContractionError& cost) const {
  Panel operand(values.size());
  for (size_t j = 0; j < values.size(); ++j) {
    for (int f = 0; f < kPanelWidth; ++f) {
      operand[j][f] = Operand(std::abs(values[j][f]), 0, cost, a.columns);
    }
  }
  Panel accumulated(a.rows, PanelRow{});
  AddAbsProduct(a, 0, a.columns, operand, &accumulated);
  return accumulated;
}

double ErrorModel::Reduced(double accumulated, double shares, const ContractionError& cost) const {
  return (accumulated + cost.reduce * (shares + accumulated) + cost.absolute) * slack_;
}

double ErrorModel::OutputError(double y, double accumulated, double shares, double bias) const {
  const double with_bias = accumulated + Operand(bias, 0, y_, 1);
  const double reduced = Reduced(with_bias, shares + std::abs(bias), y_);
  return (reduced + store_ * (std::abs(y) + reduced) + underflow_) * slack_;
}

double ErrorModel::LossGradientError(double residual, double y_error) const {
  const double upper = std::abs(residual) + y_error;
  const double roundings =
      Gamma(kLossGradientRoundings, wide_) + Gamma(kLossGradientRoundings, kDoubleRoundoff);
  // A scale below the normal range loses more than a rounding.
  const double computed = 2 * scale_ * (y_error + roundings * upper) +
                          2 * (1 + roundings) * wide_underflow_ * upper +
                          kLossGradientRoundings * (wide_underflow_ + kDoubleUnderflow);
  const double gradient = 2 * scale_ * std::abs(residual);
  return (computed + store_ * (gradient + computed) + underflow_) * slack_;
}

double ErrorModel::UpdateError(double updated, double gradient, double gradient_error) const {
  // Rounding the learning rate and the product. A rate below the normal range loses more.
  const double step = gradient + gradient_error;
  const double computed = learning_rate_ * gradient_error +
                          Gamma(2, wide_) * learning_rate_ * step +
                          (1 + Gamma(2, wide_)) * wide_underflow_ * step +
                          Gamma(3, kDoubleRoundoff) * (updated + 2 * learning_rate_ * step) +
                          wide_underflow_ + kDoubleUnderflow;
  return (computed + store_ * (updated + computed) + underflow_) * slack_;
}

double ErrorModel::LossError(double squares, double upper, double drift) const {
  const double roundings = elements_ + model_.tp_depth + model_.dp_depth + kLossTermRoundings;
  const double tau =
      std::min(Gamma(roundings, wide_), ProbabilisticGamma(roundings, wide_, loss_lambda_));
  // The reference and its bound are themselves sums of that length.
  const double reference = Gamma(roundings, kDoubleRoundoff);
  const double relative = scale_ * (drift + tau * upper + reference * (squares + drift + upper));
  const double underflow = wide_underflow_ + kDoubleUnderflow;
  return relative + (1 + tau) * underflow * (roundings * std::max(1.0, scale_) + upper);
}

FeatureErrors::FeatureErrors(const ReferenceInputs& inputs, const ErrorModel& model)
    : inputs_(inputs),
      model_(model),
      w_(inputs.in_features(), PanelRow{}),
      y_(inputs.tokens()),
      dw_(inputs.in_features()),
      dw_drift_(inputs.in_features(), PanelRow{}) {}

Panel FeatureErrors::Drift() const {
  Panel drift(inputs_.tokens(), PanelRow{});
  if (norm_ == PanelRow{}) return drift;  // the first step
  AddAbsProduct(inputs_.x(), 0, inputs_.in_features(), w_, &drift);
  for (int64_t m = 0; m < inputs_.tokens(); ++m) {
    for (int f = 0; f < kPanelWidth; ++f) {
      drift[m][f] = std::min(drift[m][f] + b_[f], model_.row_norm(m) * norm_[f]) * model_.slack();
    }
  }
  return drift;
}

void FeatureErrors::Compute(const FeatureReference& reference) {
  const int64_t tokens = inputs_.tokens();
  const Panel drift = Drift();
  Panel w(w_);
  for (size_t k = 0; k < w.size(); ++k) {
    for (int f = 0; f < kPanelWidth; ++f) w[k][f] += std::abs(reference.w()[k][f]);
  }
  y_ = model_.Accumulated(inputs_.x(), w, model_.y());
  Panel dy(tokens);
  Panel dy_drift(tokens);
  PanelRow db = {};
  db_drift_ = {};
  for (int64_t m = 0; m < tokens; ++m) {
    for (int f = 0; f < kPanelWidth; ++f) {
      const double moved = drift[m][f];
      const double rounded = model_.OutputError(std::abs(reference.y()[m][f]) + moved, y_[m][f],
                                                reference.product().shares[m][f] + moved,
                                                std::abs(reference.b()[f]) + b_[f]);
      y_[m][f] = (moved + rounded) * model_.slack();
      dy_drift[m][f] = model_.loss_slope() * moved * model_.slack();
      const double error =
          model_.LossGradientError(std::abs(reference.residual()[m][f]) + moved, rounded);
      dy[m][f] = model_.Operand(std::abs(reference.dy()[m][f]) + dy_drift[m][f], error, model_.dw(),
                                tokens);
      db[f] += dy[m][f];
      db_drift_[f] += dy_drift[m][f];
    }
  }
  dw_.assign(dw_.size(), PanelRow{});
  AddAbsProduct(inputs_.x_transposed(), 0, tokens, dy, &dw_);
  if (norm_ != PanelRow{}) {
    dw_drift_.assign(dw_drift_.size(), PanelRow{});
    AddAbsProduct(inputs_.x_transposed(), 0, tokens, dy_drift, &dw_drift_);
  }
  for (int f = 0; f < kPanelWidth; ++f) {
    db_[f] = model_.Reduced(db[f], reference.db_shares()[f] + db_drift_[f], model_.dw());
    for (int64_t k = 0; k < inputs_.in_features(); ++k) {
      dw_[k][f] =
          model_.Reduced(dw_[k][f], reference.dw().shares[k][f] + dw_drift_[k][f], model_.dw());
    }
  }
}

void FeatureErrors::Update(const FeatureReference& reference) {
  const double rate = model_.learning_rate();
  for (int f = 0; f < kPanelWidth; ++f) {
    const double carried_norm = model_.growth() * norm_[f];
    double squares = 0;        // of what the step rounds
    double componentwise = 0;  // of the new error, element by element
    // The new error of an element that was off by `error`.
    const auto advance = [&](double error, double updated, double gradient, double drift,
                             double gradient_error) {
      const double carried = std::min(error + rate * drift, carried_norm) * model_.slack();
      const double rounded = model_.UpdateError(std::abs(updated) + carried,
                                                std::abs(gradient) + drift, gradient_error);
      squares += rounded * rounded + kDoubleUnderflow;
      const double total = carried + rounded;
      componentwise += total * total + kDoubleUnderflow;
      return total;
    };
    for (int64_t k = 0; k < inputs_.in_features(); ++k) {
      w_[k][f] = advance(w_[k][f], reference.w()[k][f], reference.dw().value[k][f], dw_drift_[k][f],
                         dw_[k][f]);
    }
    b_[f] = advance(b_[f], reference.b()[f], reference.db()[f], db_drift_[f], db_[f]);
    norm_[f] =
        std::min(carried_norm + std::sqrt(squares), std::sqrt(componentwise)) * model_.slack();
    for (int64_t k = 0; k < inputs_.in_features(); ++k) w_[k][f] = std::min(w_[k][f], norm_[f]);
    b_[f] = std::min(b_[f], norm_[f]);
  }
}

RowErrors::RowErrors(const ReferenceInputs& inputs, const ErrorModel& model,
                     const RowReference& reference) {
  y = model.Accumulated(inputs.w(), reference.x(), model.y());
  const int64_t out = inputs.out_features();
  Panel dy(out);
  for (int64_t n = 0; n < out; ++n) {
    for (int f = 0; f < kPanelWidth; ++f) {
      y[n][f] = model.OutputError(reference.y()[n][f], y[n][f], reference.product().shares[n][f],
                                  inputs.b(n));
      const double error = model.LossGradientError(reference.residual()[n][f], y[n][f]);
      dy[n][f] = model.Operand(reference.dy()[n][f], error, model.dx(), out);
    }
  }
  dx.assign(inputs.in_features(), PanelRow{});
  AddAbsProduct(inputs.w_transposed(), 0, out, dy, &dx);
  for (int64_t k = 0; k < inputs.in_features(); ++k) {
    for (int f = 0; f < kPanelWidth; ++f) {
      dx[k][f] = model.Reduced(dx[k][f], reference.dx().shares[k][f], model.dx());
    }
  }
}

}  // namespace tp::verify
