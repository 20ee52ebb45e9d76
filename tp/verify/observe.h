// Observation: one step of a Program on a backend, every value of it read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/runtime/backend.h"
#include "tp/verify/logical_value.h"

namespace tp::verify {

// `program` with every value among its results that can be one. Left out are those whose memory an
// update takes over, a parameter and what redistributes hand on of it, and the partial sums of the
// invariant order, which are no numbers yet.
Program KeepAll(const Program& program);

// What Observe takes of this machine's memory where all ranks are on it, in bytes: their buffers,
// and what is read of them. Errors: those of lowering.
StatusOr<double> BytesToObserve(const Backend& backend, const Mesh& mesh, const Program& program);

struct ObserveOptions {
  // Steps that run before the one that is observed.
  int steps_before = 0;
};

// Lowers KeepAll(program), feeds it element by element from `sources` by name, which must be there,
// and runs it. Inputs and parameters are read before the step that is observed, all else after it.
// Collectives that would work in place do not here, since what they read is kept; all else is what
// runs in training. Where another process has rank 0, no value is there.
// Errors: a program that does not verify, a missing source, the backend's.
StatusOr<ObservedValues> Observe(
    Backend& backend, const Mesh& mesh, const Program& program,
    const std::map<std::string, std::function<double(int64_t)>>& sources,
    const ObserveOptions& options = {});

}  // namespace tp::verify
