// Runs of a program that is one redistribute, with integers whose result is known on every rank.
#pragma once

#include <string>
#include <vector>

#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/core/shape.h"
#include "tp/core/status.h"
#include "tp/program/placement.h"
#include "tp/program/program.h"
#include "tp/runtime/backend.h"

namespace tp::conformance {

// A value with placements `from` is brought to `to` on one axis. It is an input, or, if `computed`,
// a matrix product (by the identity), whose memory a collective may then use.
struct Transition {
  Shape shape;
  DType dtype = DType::kFloat32;
  Axis axis = Axis::kTp;
  Placements from;
  Placement to;
  bool computed = false;
};
std::string ToString(const Transition& transition);

// Every transition on either axis, with every placement that the other axis can have.
std::vector<Transition> AllTransitions(const Shape& shape, DType dtype);

// Input "v", or "fed" and "identity" that make "v"; result "out".
StatusOr<Program> MakeProgram(const Transition& transition);

// Runs it for some steps. After each, every rank's input and result are held against what they must
// be, to the bit, and the bytes that all ranks sent against what their algorithms say and against
// the contract, which no algorithm can undercut. One line a defect.
StatusOr<std::vector<std::string>> FindDefects(Backend& backend, const Mesh& mesh,
                                               const Transition& transition, int steps);

}  // namespace tp::conformance
