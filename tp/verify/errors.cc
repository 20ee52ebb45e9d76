#include "tp/verify/errors.h"

#include <algorithm>
#include <cmath>

#include "tp/core/shard_geometry.h"

namespace tp::verify {
namespace {

constexpr double kDoubleRoundoff = 0x1p-53;

// Roundings of 2 s (Y - T) in the accumulator's type: the difference, two for s = 1 / (M N), the
// product.
constexpr int kLossGradientRoundings = 4;
// Roundings of a term of the loss beside those of the sum: the difference counts twice in a square,
// then the square, two for s, its product, and two more for an average over dp.
constexpr int kLossTermRoundings = 8;

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
}

double ErrorModel::Operand(double value, double error, const ContractionError& cost,
                           int64_t terms) const {
  const auto roundings = static_cast<double>(terms + model_.tp + model_.dp);
  return (cost.accumulate + Gamma(roundings, kDoubleRoundoff)) * std::abs(value) +
         (1 + cost.accumulate) * error;
}

Panel ErrorModel::Accumulated(const MatrixView& a, const Panel& values, const Panel& errors,
                              const ContractionError& cost) const {
  Panel operand(values.size());
  for (size_t j = 0; j < values.size(); ++j) {
    for (int f = 0; f < kPanelWidth; ++f) {
      operand[j][f] = Operand(values[j][f], errors[j][f], cost, a.columns);
    }
  }
  Panel accumulated(a.rows, PanelRow{});
  AddAbsProduct(a, 0, a.columns, operand, &accumulated);
  return accumulated;
}

double ErrorModel::Reduced(double accumulated, double shares, const ContractionError& cost) const {
  return (accumulated + cost.reduce * (shares + accumulated) + cost.absolute) * slack_;
}

double ErrorModel::OutputError(double y, double accumulated, double shares, double bias,
                               double bias_error) const {
  const double with_bias = accumulated + Operand(bias, bias_error, y_, 1);
  const double reduced = Reduced(with_bias, shares + std::abs(bias), y_);
  return (reduced + store_ * (std::abs(y) + reduced) + underflow_) * slack_;
}

double ErrorModel::LossGradientError(double residual, double y_error) const {
  const double upper = std::abs(residual) + y_error;
  const double roundings =
      Gamma(kLossGradientRoundings, wide_) + Gamma(kLossGradientRoundings, kDoubleRoundoff);
  const double computed =
      2 * scale_ * (y_error + roundings * upper) + kLossGradientRoundings * wide_underflow_;
  const double gradient = 2 * scale_ * std::abs(residual);
  return (computed + store_ * (gradient + computed) + underflow_) * slack_;
}

double ErrorModel::UpdateError(double updated, double error, double gradient,
                               double gradient_error) const {
  // Rounding the learning rate and the product.
  const double step = learning_rate_ * (std::abs(gradient) + gradient_error);
  const double computed = error + learning_rate_ * gradient_error + Gamma(2, wide_) * step +
                          Gamma(3, kDoubleRoundoff) * (std::abs(updated) + 2 * step) +
                          wide_underflow_;
  return (computed + store_ * (std::abs(updated) + computed) + underflow_) * slack_;
}

double ErrorModel::LossError(double squares, double upper, double drift) const {
  const double roundings = elements_ + model_.tp_depth + model_.dp_depth + kLossTermRoundings;
  const double tau =
      std::min(Gamma(roundings, wide_), ProbabilisticGamma(roundings, wide_, loss_lambda_));
  // The reference and its bound are themselves sums of that length.
  const double reference = Gamma(roundings, kDoubleRoundoff);
  const double relative = scale_ * (drift + tau * upper + reference * (squares + drift + upper));
  return relative + (1 + tau) * roundings * wide_underflow_ * std::max(1.0, scale_);
}

FeatureErrors::FeatureErrors(const ReferenceInputs& inputs, const ErrorModel& model)
    : inputs_(inputs),
      model_(model),
      w_(inputs.in_features(), PanelRow{}),
      y_(inputs.tokens()),
      dw_(inputs.in_features()) {}

void FeatureErrors::Compute(const FeatureReference& reference) {
  const int64_t tokens = inputs_.tokens();
  y_ = model_.Accumulated(inputs_.x(), reference.w(), w_, model_.y());
  Panel dy(tokens);
  PanelRow db = {};
  for (int64_t m = 0; m < tokens; ++m) {
    for (int f = 0; f < kPanelWidth; ++f) {
      y_[m][f] = model_.OutputError(reference.y()[m][f], y_[m][f], reference.product().shares[m][f],
                                    reference.b()[f], b_[f]);
      dy[m][f] = model_.LossGradientError(reference.residual()[m][f], y_[m][f]);
      db[f] += model_.Operand(reference.dy()[m][f], dy[m][f], model_.dw(), tokens);
    }
  }
  dw_ = model_.Accumulated(inputs_.x_transposed(), reference.dy(), dy, model_.dw());
  for (int f = 0; f < kPanelWidth; ++f) {
    db_[f] = model_.Reduced(db[f], reference.db_shares()[f], model_.dw());
    for (int64_t k = 0; k < inputs_.in_features(); ++k) {
      dw_[k][f] = model_.Reduced(dw_[k][f], reference.dw().shares[k][f], model_.dw());
    }
  }
}

void FeatureErrors::Update(const FeatureReference& reference) {
  for (int f = 0; f < kPanelWidth; ++f) {
    for (int64_t k = 0; k < inputs_.in_features(); ++k) {
      w_[k][f] =
          model_.UpdateError(reference.w()[k][f], w_[k][f], reference.dw().value[k][f], dw_[k][f]);
    }
    b_[f] = model_.UpdateError(reference.b()[f], b_[f], reference.db()[f], db_[f]);
  }
}

RowErrors::RowErrors(const ReferenceInputs& inputs, const ErrorModel& model,
                     const RowReference& reference) {
  const Panel exact(inputs.in_features(), PanelRow{});
  y = model.Accumulated(inputs.w(), reference.x(), exact, model.y());
  Panel dy(inputs.out_features());
  for (int64_t n = 0; n < inputs.out_features(); ++n) {
    for (int f = 0; f < kPanelWidth; ++f) {
      y[n][f] = model.OutputError(reference.y()[n][f], y[n][f], reference.product().shares[n][f],
                                  inputs.b(n), 0);
      dy[n][f] = model.LossGradientError(reference.residual()[n][f], y[n][f]);
    }
  }
  dx = model.Accumulated(inputs.w_transposed(), reference.dy(), dy, model.dx());
  for (int64_t k = 0; k < inputs.in_features(); ++k) {
    for (int f = 0; f < kPanelWidth; ++f) {
      dx[k][f] = model.Reduced(dx[k][f], reference.dx().shares[k][f], model.dx());
    }
  }
}

}  // namespace tp::verify
