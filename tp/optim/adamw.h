// AdamW, in the accumulator's type: parameters of a narrower type have a master copy, unless they
// are to go without.
//
// Sources: tp/ops/adamw.cc.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tp/core/status.h"
#include "tp/optim/loss_scale.h"
#include "tp/program/program.h"

namespace tp {

struct AdamWOptions {
  double beta_moment = 0.9;
  double beta_square = 0.95;
  double eps = 1e-8;
  // Of the parameters that decay: each step takes away rate * decay of them.
  double decay = 0.1;
  // Gradients are scaled down where the norm of all of them is above it; 0: any may be.
  double max_norm = 0;
  // Without, a parameter of a narrower type is updated itself: a step of less than half a unit in
  // its last place is lost.
  bool masters = true;
};

// What differs from step to step: inputs, scalars in fp32, or in fp64 where that is trained.
inline constexpr char kRateInput[] = "rate";
// 1 / (1 - beta^t) of step t, from 1, for beta_moment and beta_square.
inline constexpr char kMomentCorrectionInput[] = "moment_correction";
inline constexpr char kSquareCorrectionInput[] = "square_correction";

// A scalar of the step: the sum of the squares of all gradients, before they are clipped.
inline constexpr char kSquaresOfGradients[] = "gradients.squares";

// Appends the inputs above, and for each parameter "w" the parameters "w.moment" and "w.square",
// which begin as zeros, "w.master", which begins as w does, where w's type is narrower than its
// accumulator's and the options have masters, and the update by its gradient; before them,
// "gradients.factor", which clips. Gradients of a loss that was scaled by `scale` are scaled down,
// a step where they are not finite changes nothing, and the scale is updated. A Program has one of
// these. `decays` says whether a parameter decays. Errors: INVALID_ARGUMENT where a gradient does
// not lie as its parameter does, a Partial one above all.
Status AddAdamW(Program& program, const std::vector<ValueId>& parameters,
                const std::vector<ValueId>& gradients, const AdamWOptions& options,
                const std::function<bool(const std::string& parameter)>& decays,
                const std::optional<LossScaling>& scale = std::nullopt);

}  // namespace tp
