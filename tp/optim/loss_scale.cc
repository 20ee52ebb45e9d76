#include "tp/optim/loss_scale.h"

#include <string>
#include <vector>

#include "tp/ops/all.h"

namespace tp {
namespace {

constexpr double kGrowsAfter = 2000;  // steps

}  // namespace

LossScaling AddLossScale(Builder& b, DType wide) {
  return {b.Parameter(kLossScaleParameter, {}, wide), b.Parameter(kLossScaleInverse, {}, wide),
          b.Parameter(kLossScaleSteps, {}, wide)};
}

ValueId UpdateLossScale(Builder& b, const LossScaling& scale, ValueId squares, ValueId clip) {
  const std::vector<ValueId> state = {scale.scale, scale.inverse, scale.steps};
  std::vector<std::string> names;
  for (ValueId v : state) names.push_back(b.value(v).name + ".updated");
  names.push_back(b.value(clip).name + ".unscaled");
  return b.Ops(names, kLossScale, {state[0], state[1], state[2], squares, clip},
               {{"interval", kGrowsAfter}})[3];
}

}  // namespace tp
