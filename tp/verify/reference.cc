#include "tp/verify/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "tp/core/shard_geometry.h"

namespace tp::verify {
namespace {

Status CheckTensor(std::string_view name, const HostTensor& tensor, const Shape& shape) {
  if (tensor.shape() != shape) {
    return InvalidArgument(fmt::format("{} has shape {}; the other tensors ask for {}", name,
                                       ToString(tensor.shape()), ToString(shape)));
  }
  const std::vector<double> values = tensor.ToDoubles();
  const auto bad = std::find_if_not(values.begin(), values.end(),
                                    [](double value) { return std::isfinite(value); });
  if (bad == values.end()) return OkStatus();
  return InvalidArgument(
      fmt::format("{} holds {} at element {}; only finite numbers can be checked", name, *bad,
                  bad - values.begin()));
}

// A zeroed panel, and the product of `a` with `b` whose inner dimension is cut into `parts`.
SplitSum Contract(const MatrixView& a, int parts, const Panel& b) {
  SplitSum sum;
  sum.value.assign(a.rows, PanelRow{});
  sum.shares.assign(a.rows, PanelRow{});
  const ShardGeometry geometry(a.columns, parts);
  Panel share;
  for (int part = 0; part < parts; ++part) {
    share.assign(a.rows, PanelRow{});
    AddProduct(a, geometry.Offset(part), geometry.Offset(part + 1), b, &share);
    for (int64_t i = 0; i < a.rows; ++i) {
      for (int f = 0; f < kPanelWidth; ++f) {
        sum.value[i][f] += share[i][f];
        sum.shares[i][f] += std::abs(share[i][f]);
      }
    }
  }
  return sum;
}

// Column f of the result is row rows[f] of `a`; the last one again where there are fewer.
Panel GatherRows(const MatrixView& a, std::span<const int64_t> rows) {
  Panel panel(a.columns);
  for (int64_t j = 0; j < a.columns; ++j) {
    for (int f = 0; f < kPanelWidth; ++f) {
      const int64_t i = rows[std::min<size_t>(f, rows.size() - 1)];
      panel[j][f] = a.data[i * a.row_stride + j * a.column_stride];
    }
  }
  return panel;
}

}  // namespace

double LinearProblem::scale() const {
  return loss_scale.value_or(1.0 /
                             (static_cast<double>(tokens()) * static_cast<double>(out_features())));
}

Status Validate(const LinearProblem& problem) {
  if (problem.x.shape().size() != 2 || problem.w.shape().size() != 2) {
    return InvalidArgument(fmt::format("x has shape {} and w {}; both must be matrices",
                                       ToString(problem.x.shape()), ToString(problem.w.shape())));
  }
  const int64_t m = problem.tokens();
  const int64_t k = problem.in_features();
  const int64_t n = problem.out_features();
  if (m < 1 || k < 1 || n < 1) {
    return InvalidArgument(fmt::format(
        "{} tokens, {} in_features and {} out_features; each must be at least 1", m, k, n));
  }
  if (problem.steps < 1) {
    return InvalidArgument(fmt::format("{} steps; there must be at least 1", problem.steps));
  }
  if (!std::isfinite(problem.learning_rate) || !std::isfinite(problem.scale())) {
    return InvalidArgument(fmt::format("learning rate {} and loss scale {} must be finite",
                                       problem.learning_rate, problem.scale()));
  }
  TP_RETURN_IF_ERROR(CheckTensor("x", problem.x, {m, k}));
  TP_RETURN_IF_ERROR(CheckTensor("targets", problem.targets, {m, n}));
  TP_RETURN_IF_ERROR(CheckTensor("w", problem.w, {n, k}));
  return CheckTensor("b", problem.b, {n});
}

ReferenceInputs::ReferenceInputs(const LinearProblem& problem)
    : tokens_(problem.tokens()),
      in_features_(problem.in_features()),
      out_features_(problem.out_features()),
      scale_(problem.scale()),
      learning_rate_(problem.learning_rate),
      x_(problem.x.ToDoubles()),
      targets_(problem.targets.ToDoubles()),
      w_(problem.w.ToDoubles()),
      b_(problem.b.ToDoubles()) {}

FeatureReference::FeatureReference(const ReferenceInputs& inputs, const Splits& splits,
                                   std::span<const int64_t> features)
    : inputs_(inputs),
      splits_(splits),
      targets_(inputs.tokens()),
      w_(GatherRows(inputs.w(), features)),
      y_(inputs.tokens()),
      residual_(inputs.tokens()),
      dy_(inputs.tokens()) {
  for (int f = 0; f < kPanelWidth; ++f) {
    const int64_t n = features[std::min<size_t>(f, features.size() - 1)];
    b_[f] = inputs.b(n);
    for (int64_t m = 0; m < inputs.tokens(); ++m) targets_[m][f] = inputs.target(m, n);
  }
}

void FeatureReference::Compute() {
  product_ = Contract(inputs_.x(), splits_.y, w_);
  for (int64_t m = 0; m < inputs_.tokens(); ++m) {
    for (int f = 0; f < kPanelWidth; ++f) {
      y_[m][f] = product_.value[m][f] + b_[f];
      residual_[m][f] = y_[m][f] - targets_[m][f];
      dy_[m][f] = 2 * inputs_.scale() * residual_[m][f];
    }
  }
  dw_ = Contract(inputs_.x_transposed(), splits_.dw, dy_);
  db_ = {};
  db_shares_ = {};
  const ShardGeometry geometry(inputs_.tokens(), splits_.dw);
  for (int part = 0; part < splits_.dw; ++part) {
    PanelRow share = {};
    for (int64_t m = geometry.Offset(part); m < geometry.Offset(part + 1); ++m) {
      for (int f = 0; f < kPanelWidth; ++f) share[f] += dy_[m][f];
    }
    for (int f = 0; f < kPanelWidth; ++f) {
      db_[f] += share[f];
      db_shares_[f] += std::abs(share[f]);
    }
  }
}

void FeatureReference::Update() {
  const double rate = inputs_.learning_rate();
  for (int64_t k = 0; k < inputs_.in_features(); ++k) {
    for (int f = 0; f < kPanelWidth; ++f) w_[k][f] -= rate * dw_.value[k][f];
  }
  for (int f = 0; f < kPanelWidth; ++f) b_[f] -= rate * db_[f];
}

RowReference::RowReference(const ReferenceInputs& inputs, const Splits& splits,
                           std::span<const int64_t> rows)
    : x_(GatherRows(inputs.x(), rows)),
      product_(Contract(inputs.w(), splits.y, x_)),
      y_(inputs.out_features()),
      residual_(inputs.out_features()),
      dy_(inputs.out_features()) {
  for (int64_t n = 0; n < inputs.out_features(); ++n) {
    for (int f = 0; f < kPanelWidth; ++f) {
      const int64_t m = rows[std::min<size_t>(f, rows.size() - 1)];
      y_[n][f] = product_.value[n][f] + inputs.b(n);
      residual_[n][f] = y_[n][f] - inputs.target(m, n);
      dy_[n][f] = 2 * inputs.scale() * residual_[n][f];
    }
  }
  dx_ = Contract(inputs.w_transposed(), splits.dx, dy_);
}

StatusOr<LinearResult> RunReference(const LinearProblem& problem) {
  TP_RETURN_IF_ERROR(Validate(problem));
  const ReferenceInputs inputs(problem);
  const int64_t tokens = inputs.tokens();
  const int64_t in = inputs.in_features();
  const int64_t out = inputs.out_features();
  LinearResult result{.y = std::vector<double>(tokens * out),
                      .dx = std::vector<double>(tokens * in),
                      .dw = std::vector<double>(out * in),
                      .db = std::vector<double>(out),
                      .w = std::vector<double>(out * in),
                      .b = std::vector<double>(out),
                      .losses = std::vector<double>(problem.steps)};
  for (int64_t n = 0; n < out; ++n) {
    FeatureReference feature(inputs, Splits(), std::span(&n, 1));
    for (int step = 0; step < problem.steps; ++step) {
      feature.Compute();
      for (int64_t m = 0; m < tokens; ++m) {
        const double residual = feature.residual()[m][0];
        result.losses[step] += inputs.scale() * residual * residual;
        if (step == 0) result.y[m * out + n] = feature.y()[m][0];
      }
      if (step == 0) {
        for (int64_t k = 0; k < in; ++k) result.dw[n * in + k] = feature.dw().value[k][0];
        result.db[n] = feature.db()[0];
      }
      feature.Update();
    }
    for (int64_t k = 0; k < in; ++k) result.w[n * in + k] = feature.w()[k][0];
    result.b[n] = feature.b()[0];
  }
  for (int64_t m = 0; m < tokens; ++m) {
    const RowReference row(inputs, Splits(), std::span(&m, 1));
    for (int64_t k = 0; k < in; ++k) result.dx[m * in + k] = row.dx().value[k][0];
  }
  return result;
}

}  // namespace tp::verify
