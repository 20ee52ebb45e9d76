// Verification: an observed training step against the reference, or two observed ones against each
// other.
#pragma once

#include <string>

#include "tp/core/status.h"
#include "tp/verify/bounds.h"
#include "tp/verify/expectation.h"
#include "tp/verify/reference.h"
#include "tp/verify/report.h"
#include "tp/verify/sample.h"

namespace tp::verify {

struct VerifyOptions {
  Lane lane = Lane::kBounded;
  SampleOptions sample;
};

// Holds `observed` against the reference. The exact lane proves first that the problem leaves no
// room for rounding (exact.h). A difference is a report whose outcome is kFail, not an error.
//
// Where the sample leaves features out, the loss of the first step is checked against the observed
// Y instead, and the later losses are not checked: the report says so.
//
// Errors: an invalid problem or model, a tensor of the wrong shape, a problem that is not exact.
StatusOr<Report> VerifyLinear(const LinearProblem& problem, const Observed& observed,
                              const NumericModel& model, const VerifyOptions& options);

// The same with an expectation at hand, in the bounded lane.
StatusOr<Report> Compare(const LinearProblem& problem, const Expectation& expectation,
                         const Observed& observed);

// Two runs of one problem against each other: |a - b| <= bound_a + bound_b, on the same sample. In
// the exact lane, for runs that VerifyLinear has taken there, a = b.
struct NamedRun {
  std::string name;
  const Observed* observed;
  NumericModel model;
};
StatusOr<Report> CompareRuns(const LinearProblem& problem, const NamedRun& a, const NamedRun& b,
                             const VerifyOptions& options);

}  // namespace tp::verify
