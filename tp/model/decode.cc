#include "tp/model/decode.h"

#include <cmath>

#include "tp/layers/attention.h"
#include "tp/ops/all.h"
#include "tp/ops/rope.h"

namespace tp {
namespace {

// Added to a score it leaves nothing of its exponential, and is a number: sums with it are too.
constexpr double kUnseen = -1e30;

// The matrices [d, d] that turn a head at each of `places`, one behind the other, times `scale`.
std::vector<double> Turns(const TransformerConfig& config, const std::vector<int64_t>& places,
                          double scale) {
  const int64_t d = config.head_size, pairs = config.positions > 0 ? 0 : d / 2;
  const bool interleaved = config.rope.interleaved;
  const Attributes attributes = RopeAttributes(config.rope);
  std::vector<double> turns(places.size() * d * d, 0.0);
  for (size_t b = 0; b < places.size(); ++b) {
    const auto at = [&](int64_t row, int64_t column) -> double& {
      return turns[(static_cast<int64_t>(b) * d + row) * d + column];
    };
    for (int64_t i = 0; i < d; ++i) at(i, i) = scale;
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(places[b]) * TurnOf(attributes, i, d);
      const int64_t first = interleaved ? 2 * i : i;
      const int64_t second = interleaved ? 2 * i + 1 : pairs + i;
      at(first, first) = at(second, second) = scale * std::cos(angle);
      at(second, first) = scale * std::sin(angle);
      at(first, second) = -at(second, first);
    }
  }
  return turns;
}

std::function<double(int64_t)> Elements(std::vector<double> values) {
  return [values = std::move(values)](int64_t i) { return values[static_cast<size_t>(i)]; };
}

}  // namespace

std::map<std::string, std::function<double(int64_t index)>> PlaceInputs(
    const TransformerConfig& config, int64_t sequence, const std::vector<int64_t>& places) {
  const auto of_place = [&](double at_it, double before, double behind) {
    std::vector<double> values;
    for (int64_t place : places) {
      for (int64_t k = 0; k < sequence; ++k) {
        values.push_back(k == place ? at_it : k < place ? before : behind);
      }
    }
    return Elements(std::move(values));
  };
  std::map<std::string, std::function<double(int64_t)>> inputs;
  inputs["place"] = of_place(1, 0, 0);
  inputs["seen"] = of_place(0, 0, kUnseen);
  inputs["turn.query"] = Elements(Turns(config, places, ScaleOf({.head_size = config.head_size})));
  inputs["turn.key"] = Elements(Turns(config, places, 1));
  inputs["ones"] = [](int64_t) { return 1.0; };
  if (config.positions > 0) {
    inputs["places"] = Elements(std::vector<double>(places.begin(), places.end()));
  }
  return inputs;
}

std::vector<std::string> CachesOf(const Program& program) {
  std::vector<std::string> caches;
  for (const Op& op : program.ops()) {
    if (!op.Is(kParameter)) continue;
    const std::string& name = program.value(op.outputs[0]).name;
    if (name.ends_with(".cache")) caches.push_back(name);
  }
  return caches;
}

}  // namespace tp
