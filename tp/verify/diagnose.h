// Diagnosis: which classic mistake explains a wrong result.
//
// A hypothesis says what each element would be if one mistake had been made: the bias added on
// every rank, one rank's share taken for the sum, a gathered output laid out rank-major. It is
// named if it explains every wrong element that was looked at, up to the bound. This is a hint for
// the reader and decides nothing.
#pragma once

#include <string>
#include <vector>

#include "tp/verify/expectation.h"
#include "tp/verify/report.h"

namespace tp::verify {

struct DiagnosisInput {
  const LinearProblem& problem;
  const NumericModel& model;
  const Observed& observed;  // of right shapes; all that `quantity` is made of agrees
  Quantity quantity;
  const ExpectedElements& elements;
  const std::vector<size_t>& failing;  // places in `elements`; not empty
};

// One sentence a cause, likeliest first. Ends with where the wrong elements lie, if that is one
// rank's part.
std::vector<std::string> Diagnose(const DiagnosisInput& input);

}  // namespace tp::verify
