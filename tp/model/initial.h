// What a transformer's parameters are before training: a function of the seed, the parameter's name
// and the element of the global tensor, and so the same on every mesh.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tp/model/transformer.h"

namespace tp {

// Element `index`, row-major, of parameter `name`: weights are uniform with a standard deviation of
// `deviation`, those of "output.weight" and "down.weight" in a layer with that over the square root
// of twice the layers, which both are added to the sum that runs through all layers (Radford et
// al., "Language Models are Unsupervised Multitask Learners", 2019). Gains are 1, biases 0; an
// optimizer's moments and squares are 0, and a master copy is as its parameter. What is returned
// holds numbers of tp/core/numbers.h.
std::function<double(int64_t index)> InitialValue(const TransformerConfig& config,
                                                  const std::string& name, uint64_t seed,
                                                  double deviation = 0.02);

}  // namespace tp
