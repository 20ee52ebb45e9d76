#include "tp/layers/loss.h"

namespace tp {

ValueId AddLanguageLoss(Builder& b, ValueId logits, ValueId targets, ValueId weights) {
  const auto whole = [&](const std::string& name, ValueId part) {
    return b.Redistribute(name, part, Axis::kTp, Replicate());
  };
  const ValueId greatest = whole("logits.max", b.Op("logits.max.part", kRowMax, {logits}));
  const ValueId sum = whole("logits.sum", b.Op("logits.sum.part", kExpSum, {logits, greatest}));
  const std::vector<ValueId> picked =
      b.Ops({"picked.part", "counted.part"}, kPick, {logits, targets});
  const ValueId weighted = b.Op("picked.weighted", kMul, {whole("picked", picked[0]), weights});
  const ValueId counted = b.Op("counted.weighted", kMul, {whole("counted", picked[1]), weights});
  return b.Op("loss", kCrossEntropy, {sum, greatest, weighted, counted}, {{"scale", 1.0}});
}

}  // namespace tp
