// The user's tensors: what a step is verified on, and results to be verified.
//
// Every file is taken for hostile (tp/io/npy.h, safetensors.h). Errors name the file or flag and
// what is wrong.
#pragma once

#include <string>
#include <vector>

#include "tools/io/paths.h"
#include "tools/verify/options.h"
#include "tp/core/status.h"
#include "tp/verify/reference.h"
#include "tp/verify/report.h"

namespace tp::verifier {

struct UserTensors {
  verify::LinearProblem problem;     // rounded to the element type of the run
  bool has_targets = false;          // or they are generated
  std::vector<std::string> origins;  // one line a tensor: its shape and where it comes from
};

// Where the tensors of both are.
std::vector<io::NamedFile> FilesRead(const VerifierOptions& options);

// Reads x and w, and b and targets where they are given: without, b is zero and the targets are
// those that the bench generates. Writes the sizes into options.engine.
StatusOr<UserTensors> LoadTensors(VerifierOptions& options);

// Reads what is there of y, dx, dw, db, w, b, losses in the folder options.expect. Values that are
// no finite numbers are read as they are. Errors: nothing there, a wrong shape, a type too narrow
// for the run's, a result that depends on targets which the user has not given.
StatusOr<verify::Observed> LoadResults(const VerifierOptions& options, const UserTensors& tensors);

}  // namespace tp::verifier
