// Stochastic gradient descent without momentum: w <- w - learning_rate * gradient.
//
// Robbins & Monro 1951; the same update as PyTorch's torch.optim.SGD with its defaults.
#pragma once

#include <vector>

#include "tp/core/status.h"
#include "tp/program/program.h"

namespace tp {

// Appends the update of each parameter by its gradient, named "w.updated" for "w". Errors:
// INVALID_ARGUMENT where a gradient does not lie as its parameter does, a Partial one above all.
Status AddSgd(Program& program, const std::vector<ValueId>& parameters,
              const std::vector<ValueId>& gradients, double learning_rate);

}  // namespace tp
