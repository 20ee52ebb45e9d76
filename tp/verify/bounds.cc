#include "tp/verify/bounds.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace tp::verify {

std::string_view Name(Mode mode) { return mode == Mode::kRow ? "row" : "column"; }

NumericModel MakeModel(DType dtype, Mode mode, int tp, int dp) {
  NumericModel model;
  model.dtype = dtype;
  model.mode = mode;
  model.tp = tp;
  model.dp = dp;
  model.tp_depth = tp - 1;
  model.dp_depth = dp - 1;
  model.accumulator_roundoff = UnitRoundoff(AccumulatorOf(dtype));
  return model;
}

Status Validate(const NumericModel& model) {
  if (model.tp < 1 || model.dp < 1) {
    return InvalidArgument(fmt::format("tp {} and dp {} must be at least 1", model.tp, model.dp));
  }
  if (model.tp_depth < 0 || model.dp_depth < 0 || !(model.accumulator_roundoff > 0) ||
      !(model.accumulator_roundoff < 1) || !(model.operand_roundoff >= 0) ||
      !(model.operand_roundoff < 1)) {
    return InvalidArgument(fmt::format(
        "reduction depths {} and {} must not be negative, roundoffs {} and {} in (0, 1)",
        model.tp_depth, model.dp_depth, model.accumulator_roundoff, model.operand_roundoff));
  }
  return OkStatus();
}

int BalancedDepth(int parts) {
  CHECK_GE(parts, 1);
  return std::bit_width(static_cast<unsigned>(parts) - 1u);
}

std::string ToString(const NumericModel& model) {
  return fmt::format(
      "{} mode, {}, tp {} (depth {}), dp {} (depth {}), {} sums, accumulator roundoff 2^{}{}, {}",
      Name(model.mode), Name(model.dtype), model.tp, model.tp_depth, model.dp, model.dp_depth,
      Name(model.sum_order), std::ilogb(model.accumulator_roundoff),
      model.operand_roundoff > 0
          ? fmt::format(", operands to 2^{}", std::ilogb(model.operand_roundoff))
          : "",
      model.probabilistic ? fmt::format("probabilistic gamma where smaller (risk {:g})", kRisk)
                          : "deterministic gamma");
}

ContractionError ErrorOf(const Contraction& contraction, double lambda) {
  const auto terms = static_cast<double>(contraction.terms);
  const DType accumulator = AccumulatorOf(contraction.dtype);
  ContractionError error;
  error.accumulate = Gamma(terms, contraction.accumulator_roundoff);
  if (lambda > 0) {
    error.accumulate = std::min(
        error.accumulate, ProbabilisticGamma(terms, contraction.accumulator_roundoff, lambda));
  }
  const double operands = 2 * contraction.operand_roundoff +
                          contraction.operand_roundoff * contraction.operand_roundoff;
  error.accumulate += operands * (1 + error.accumulate);
  const int stores = contraction.dtype == accumulator ? 0 : 1;
  error.reduce = Gamma(contraction.depth + stores, StoreRoundoff(contraction.dtype));
  // A product of each term and a store of each part can underflow, and a product in the reference;
  // an addition cannot.
  const double shares = contraction.parts;
  error.absolute = (1 + error.Tau()) * shares *
                   (terms * (UnderflowUnit(accumulator) + UnderflowUnit(DType::kFloat64)) +
                    stores * UnderflowUnit(contraction.dtype));
  return error;
}

}  // namespace tp::verify
