// Steps of a run held one by one, each on the values that it started from.
//
// The bounds of a whole run allow for all that its steps have rounded so far. Those of one step do
// not know how long the run is: they stay as sharp at the thousandth step as at the first. A run of
// which every step holds is right to the end.
#pragma once

#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/core/status.h"
#include "tp/verify/compare.h"

namespace tp::verify {

// A step of a run: `w` and `b` before it, and what it gave, with one loss.
struct ObservedStep {
  int step = 0;  // of the run, from 0
  HostTensor w;
  HostTensor b;
  Observed result;
};

// Holds each of `steps` against the reference, which takes `problem`'s X and targets and the step's
// own weights, in the bounded lane. The sample of options is that of all steps together. The report
// counts the elements of all steps; its worst ones, causes and notes are those of the gravest step,
// which the notes name, and its coverage says how many of the run's steps there are. Each step has
// the risk kRisk of its own.
//
// Errors: those of VerifyLinear, naming the step; no steps.
StatusOr<Report> VerifySteps(const LinearProblem& problem, const std::vector<ObservedStep>& steps,
                             const NumericModel& model, const SampleOptions& options);

}  // namespace tp::verify
