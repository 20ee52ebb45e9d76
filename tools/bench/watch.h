// Which steps of a run are held one by one (tp/verify/steps.h), and what they gave.
#pragma once

#include <vector>

#include "tools/bench/options.h"
#include "tools/measure/train.h"
#include "tp/verify/steps.h"

namespace tp::bench {

// Ascending, from 0: warm-up steps, and of the timed ones a tenth, evenly spread to the last, as
// reading a step's weights may slow the one after it; or all of them, where the options say so.
// Never more than fit in a gibibyte: none, where one step's weights and results alone do not.
std::vector<int> WatchedSteps(const BenchOptions& options);

// The bytes of one watched step as whole tensors.
double WatchedBytes(const BenchOptions& options);

// Takes them out of `trained`.
std::vector<verify::ObservedStep> TakeWatched(TrainResult& trained);

}  // namespace tp::bench
