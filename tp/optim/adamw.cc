#include "tp/optim/adamw.h"

#include <glog/logging.h>

#include "tp/ops/builder.h"

namespace tp {
namespace {

struct Inputs {
  ValueId rate, moment_correction, square_correction;
};

void Update(Builder& b, ValueId w, ValueId gradient, const Inputs& inputs,
            const AdamWOptions& options, double decay) {
  const Value value = b.value(w);
  const DType wide = AccumulatorOf(value.dtype);
  const auto state = [&](const char* what) {
    return b.Parameter(value.name + what, value.shape, wide, value.placements);
  };
  const ValueId moment = b.Op(value.name + ".moment.updated", kAdamMoment,
                              {gradient, state(".moment")}, {{"beta", options.beta_moment}});
  const ValueId square = b.Op(value.name + ".square.updated", kAdamSquare,
                              {gradient, state(".square")}, {{"beta", options.beta_square}});
  const Attributes attributes = {{"eps", options.eps}, {"decay", decay}};
  const bool narrow = wide != value.dtype;
  const ValueId master = narrow ? state(".master") : w;
  const ValueId updated = b.Op(
      value.name + (narrow ? ".master.updated" : ".updated"), kAdamwStep,
      {master, moment, square, inputs.rate, inputs.moment_correction, inputs.square_correction},
      attributes);
  if (narrow) b.Op(value.name + ".updated", kAdamwStore, {w, updated});
}

}  // namespace

Status AddAdamW(Program& program, const std::vector<ValueId>& parameters,
                const std::vector<ValueId>& gradients, const AdamWOptions& options,
                const std::function<bool(const std::string& parameter)>& decays) {
  CHECK_EQ(parameters.size(), gradients.size());
  if (parameters.empty()) return OkStatus();
  Builder b(program);
  b.set_phase(Phase::kOptimizer);
  const DType wide = AccumulatorOf(program.value(parameters[0]).dtype);
  const Inputs inputs = {b.Input(kRateInput, {}, wide), b.Input(kMomentCorrectionInput, {}, wide),
                         b.Input(kSquareCorrectionInput, {}, wide)};
  for (size_t i = 0; i < parameters.size(); ++i) {
    const bool decay = decays(program.value(parameters[i]).name);
    Update(b, parameters[i], gradients[i], inputs, options, decay ? options.decay : 0);
  }
  return b.status();
}

}  // namespace tp
