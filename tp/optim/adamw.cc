#include "tp/optim/adamw.h"

#include <glog/logging.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tp/ops/builder.h"

namespace tp {
namespace {

// No gradient that is of use has it, and every type has it.
constexpr double kAnyNorm = 1e30;

struct Scalars {
  ValueId rate, moment_correction, square_correction, factor;
};

// `v` whole on every axis.
ValueId Whole(Builder& b, const std::string& name, ValueId v) {
  // There is always a way to what is whole.
  const std::vector<Axis> axes = StepsBetween(b.value(v).placements, Placements()).value();
  for (const Axis& axis : axes) {
    v = b.Redistribute(name + "." + std::string(Name(axis)), v, axis, Replicate());
  }
  return v;
}

// What gradients are multiplied by so that the norm of all of them is at most `max`. Sums that lie
// alike are added up before they are made whole. With the scale of the loss undone, which is then
// updated.
ValueId ClipFactor(Program& program, Builder& b, const std::vector<ValueId>& gradients, double max,
                   const std::optional<LossScaling>& scale) {
  std::vector<ValueId> sums;  // one of each placement
  for (ValueId gradient : gradients) {
    const std::string name = b.value(gradient).name + ".squares";
    // In the invariant order each rank sums the squares of all, in one order.
    const bool whole = program.sum_order() == SumOrder::kInvariant;
    const ValueId part =
        b.Op(name, kSquareSum, {whole ? Whole(b, name + ".of", gradient) : gradient});
    if (part == kNoValue) return kNoValue;
    const auto alike = std::find_if(sums.begin(), sums.end(), [&](ValueId sum) {
      return b.value(sum).placements == b.value(part).placements;
    });
    if (alike == sums.end()) {
      sums.push_back(part);
    } else {
      *alike = b.Add(name + ".sum", *alike, part);
    }
  }
  ValueId total = kNoValue;
  for (const ValueId& part : sums) {
    const std::string name = "gradients.squares." + std::to_string(&part - sums.data());
    const ValueId sum = Whole(b, name, part);
    total = total == kNoValue ? sum : b.Add(name + ".sum", total, sum);
  }
  if (scale) {
    const ValueId half = b.Op("gradients.squares.half", kMul, {total, scale->inverse});
    total = b.Op("gradients.squares.unscaled", kMul, {half, scale->inverse});
  }
  if (total != kNoValue) program.Rename(total, kSquaresOfGradients);
  const ValueId clip =
      b.Op("gradients.factor", kClipFactor, {total}, {{"max", max > 0 ? max : kAnyNorm}});
  return scale ? UpdateLossScale(b, *scale, total, clip) : clip;
}

void Update(Builder& b, ValueId w, ValueId gradient, const Scalars& scalars,
            const AdamWOptions& options, double decay) {
  const Value value = b.value(w);
  const DType wide = AccumulatorOf(value.dtype);
  std::vector<ValueId> inputs = {w};
  std::vector<std::string> names = {value.name + ".updated"};
  const auto add_state = [&](const std::string& name) {
    inputs.push_back(b.Parameter(name, value.shape, wide, value.placements));
    names.push_back(name + ".updated");
  };
  const bool master = options.masters && wide != value.dtype;
  if (master) add_state(value.name + ".master");
  add_state(value.name + ".moment");
  add_state(value.name + ".square");
  inputs.insert(inputs.end(), {gradient, scalars.rate, scalars.moment_correction,
                               scalars.square_correction, scalars.factor});
  b.Ops(names, master ? kAdamwMaster : kAdamw, inputs,
        {{"beta_moment", options.beta_moment},
         {"beta_square", options.beta_square},
         {"eps", options.eps},
         {"decay", decay}});
}

}  // namespace

Status AddAdamW(Program& program, const std::vector<ValueId>& parameters,
                const std::vector<ValueId>& gradients, const AdamWOptions& options,
                const std::function<bool(const std::string& parameter)>& decays,
                const std::optional<LossScaling>& scale) {
  CHECK_EQ(parameters.size(), gradients.size());
  if (parameters.empty()) return OkStatus();
  Builder b(program);
  b.set_phase(Phase::kOptimizer);
  const DType wide = AccumulatorOf(program.value(parameters[0]).dtype);
  const Scalars scalars = {b.Input(kRateInput, {}, wide), b.Input(kMomentCorrectionInput, {}, wide),
                           b.Input(kSquareCorrectionInput, {}, wide),
                           ClipFactor(program, b, gradients, options.max_norm, scale)};
  for (size_t i = 0; i < parameters.size(); ++i) {
    const bool decay = decays(program.value(parameters[i]).name);
    Update(b, parameters[i], gradients[i], scalars, options, decay ? options.decay : 0);
  }
  return b.status();
}

}  // namespace tp
