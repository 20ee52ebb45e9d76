// A deep program: a chain of linear layers with what a training step adds to it.
#pragma once

#include <cstdint>

#include "tp/program/program.h"

namespace tp {

struct DeepChainOptions {
  int layers = 4;
  int64_t tokens = 16;
  int64_t features = 24;
  SumOrder sum_order = SumOrder::kFast;
};

// x <- x + linear(x), as many times, the weight split over tp by rows and by columns in turn, and
// the batch over dp; mean squared error, the reverse pass, SGD. About 16 ops a layer, before the
// passes. Inputs "x" and "targets"; the result is "loss".
Program MakeDeepChain(const DeepChainOptions& options);

}  // namespace tp
