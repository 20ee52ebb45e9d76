// Score: predicted beside measured, for what the machine was not fitted on.
#pragma once

#include <string>
#include <vector>

#include "backends/predict/fit.h"
#include "backends/predict/measurements.h"
#include "sim/topology/machine.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"

namespace tp::predict_tool {

struct ScorePoint {
  std::string name;
  double predicted_us = 0;
  double measured_us = 0;
};

// One kind of thing: products of a type, an action, a kind of collective among so many, steps.
struct ScoreRow {
  std::string what;
  int count = 0;
  double geomean = 0;  // of the errors, as parts: exp of the mean of |log(predicted / measured)|
  double p90 = 0;
  double p99 = 0;
  double max = 0;
  std::string worst;      // the name of the one that is max off
  double covered = 0;     // the part that lies within its 90 % interval; of those that have one
  double half_width = 0;  // the median of these intervals; 0: none has one
  std::vector<ScorePoint> points;  // as they were measured
};

struct Scored {
  std::vector<ScoreRow> rows;
  int refused = 0;      // because the machine was fitted on them
  int unpredicted = 0;  // because nothing like it was measured
};

StatusOr<Program> MakeStep(const predict::MeasuredStep& step, const Mesh& mesh);

// Errors: a step that can't be built.
StatusOr<Scored> Score(const sim::Machine& machine, const predict::Fit* fit,
                       const predict::Measurements& measured);

// The table, with the repeat floor beside it; and with `each`, before it, every point.
std::string RenderScore(const Scored& scored, const predict::Measurements& measured, bool each);

}  // namespace tp::predict_tool
