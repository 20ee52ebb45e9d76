// The learning rate of each step: up in a line, then down along a cosine.
//
// Loshchilov & Hutter, "SGDR", 2017, without restarts; the warm-up is that of Goyal et al., 2017.
#pragma once

#include <cstdint>

namespace tp {

struct LearningRate {
  double peak = 0;
  double least = 0;    // where the cosine ends
  int64_t warmup = 0;  // steps until the peak, which is that of the last one
  int64_t steps = 1;   // in all; the last one, and any behind it, has the least

  // Of step `step`, counted from 0.
  double At(int64_t step) const;
};

// 1 / (1 - beta^(step + 1)): what makes up for a moment of AdamW that began as zeros, at step
// `step` from 0. Kingma & Ba, "Adam", 2015, section 3.
double BiasCorrection(double beta, int64_t step);

}  // namespace tp
