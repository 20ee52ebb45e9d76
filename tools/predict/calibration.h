// Calibration: measures on a backend what a machine's file is fitted on, and what is held against
// it.
//
// In rounds of everything, so that what drifts over minutes is in all of it alike. One in four of
// the products, ops and collectives, by the hash of its name, is held out; whole steps of a linear
// layer are of some sizes for fitting, and of others to be held out. Of those held out the ops are
// timed too, each alone, so that a score can tell errors of the ops from errors of the replay.
#pragma once

#include <vector>

#include "backends/predict/measurements.h"
#include "tools/predict/measured_cases.h"
#include "tools/predict/options.h"
#include "tools/predict/program_ops.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/runtime/backend.h"

namespace tp::predict_tool {

// How much is measured.
struct CalibrationPlan {
  int products = 160;
  int64_t multiple = 1;           // of which the sizes of products are
  int64_t most_size = 1024;       // of a product
  int64_t least_bytes = 1024;     // of a collective's array
  int64_t most_bytes = 16 << 20;  // no array of a step is larger
  // Of the steps whose ops are fitted on, and of those that are held out.
  std::vector<int64_t> fit_sizes = {64, 128, 192, 320, 448, 640, 896};
  std::vector<int64_t> step_sizes = {96, 160, 256, 400, 512, 768};
  // Of the ops of how many linear steps more, of sizes at random between these, the fit is made.
  int linear_programs = 20;
  int64_t least_features = 64, most_features = 1024;
};

class Calibration {
 public:
  // `progress`, of the root alone, may be null.
  Calibration(Backend& backend, const PredictOptions& options, int world, io::Progress* progress);

  // For about options.calibrate_seconds, and one round at least. What follows is there afterwards,
  // where the backend is the root. Errors: the backend's.
  Status Measure();

  // Without ops of programs, until these are kept.
  predict::Measurements fitted, held_out;
  predict::Measurements step_ops;  // of the steps held out
  // The ops of programs, each with so much behind its kernels: those that are fitted on or held
  // out by their names; of them those of the steps that are fitted on.
  predict::Measurements FittedOps(double gap) const;
  predict::Measurements FittedStepOps(double gap) const;
  void KeepOps(double gap);
  DeviceInfo device;
  int rounds = 0;
  double handover_us = 0;        // that an op takes more where it waits for the other stream
  double gap_us = 0;             // from an op's end to the next one's, on one stream
  double copied_per_second = 0;  // bytes read and written, of the largest array; 0: none
  double floor() const;          // geomean of what repeats differ by, as a part

 private:
  struct Steps {
    CaseList list{"steps"};
    std::vector<predict::MeasuredStep> named;  // by case
  };

  Status PlanAll();
  void PlanProducts();
  void PlanCollectives();
  Status PlanPrograms();
  Status PlanSteps();
  Status AddStep(Steps& steps, ProgramOps& ops, const char* mode, int64_t in, int64_t out,
                 const Mesh& mesh);
  void KeepAll();
  void KeepCollectives();

  template <typename T>
  void Keep(std::vector<T> predict::Measurements::*list, const T& one, const CaseTimes* times);

  Backend& backend_;
  const PredictOptions& options_;
  const CalibrationPlan plan_;
  const int world_;
  io::Progress* const progress_;
  // Of collectives and handovers two cases for each, of which the difference counts.
  CaseList products_{"products"}, collectives_{"collectives"}, handovers_{"hand-overs"};
  std::vector<predict::ProductShape> shapes_;           // of products_
  std::vector<predict::MeasuredCollective> kinds_;      // of collectives_
  ProgramOps program_ops_, fitted_ops_, held_out_ops_;  // the latter two of steps
  Steps fitted_steps_, held_out_steps_;
  double floors_ = 0;
  int cases_ = 0;
};

}  // namespace tp::predict_tool
