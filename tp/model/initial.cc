#include "tp/model/initial.h"

#include <cmath>
#include <string_view>

#include "tp/core/numbers.h"
#include "tp/optim/loss_scale.h"

namespace tp {
namespace {

// FNV-1a (Fowler, Noll & Vo), so that a parameter's numbers depend on its own name alone.
uint64_t StreamOf(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

bool EndsSum(std::string_view name) {
  return name.starts_with("layers.") &&
         (name.ends_with(".output.weight") || name.ends_with(".down.weight"));
}

}  // namespace

std::function<double(int64_t index)> InitialValue(const TransformerConfig& config,
                                                  const std::string& name, uint64_t seed,
                                                  double deviation) {
  std::string_view of = name;
  if (of.ends_with(".master")) of.remove_suffix(std::string_view(".master").size());
  if (of.ends_with(".gain")) return EqualNumbers{1};
  if (of == kLossScaleParameter) return EqualNumbers{kFirstLossScale};
  if (of == kLossScaleInverse) return EqualNumbers{1 / kFirstLossScale};
  if (!of.ends_with(".weight")) return EqualNumbers{0};
  if (EndsSum(of)) deviation /= std::sqrt(2.0 * static_cast<double>(config.layers));
  const double most = deviation * std::sqrt(3.0);  // of a uniform number
  return UniformNumbers{most, RandomTensor(seed, StreamOf(of))};
}

}  // namespace tp
