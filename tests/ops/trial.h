// KernelTrial: one op, its operands lying so on one axis of the mesh, run by a backend's kernels on
// every rank, against the op's reference on the whole.
//
// Bounds are the reference's own, in numbers that carry them (tp/core/bounded.h): 0 where nothing
// rounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tp/core/dtype.h"
#include "tp/core/elementary.h"
#include "tp/program/op_def.h"
#include "tp/program/program.h"
#include "tp/schedule/schedule.h"

namespace tp {

struct KernelTrial {
  const OpDef* def = nullptr;
  Attributes attributes;
  std::vector<Shape> shapes;
  std::vector<Placement> on;  // by operand, on the axis tp
  int ranks = 1;
  DType dtype = DType::kFloat32;
  // 0: views as lowering makes them. Else the seed of views in other orders, with gaps.
  uint64_t layout = 0;
};

// The kernels of a backend.
class TrialKernels {
 public:
  virtual ~TrialKernels() = default;
  // Runs an op of `schedule` on the host's `memory`, by buffer. Returns what is wrong, or nothing.
  virtual std::string Run(const Schedule& schedule, const ScheduledOp& op,
                          std::vector<std::vector<std::byte>>& memory) = 0;
  // Of its functions in fp32; null where nobody has worked them out.
  virtual const FunctionErrors* functions() const = 0;
};

// What is wrong, or nothing.
std::string RunTrial(const KernelTrial& trial, TrialKernels& kernels);

// Everything that a failure must say.
std::string ToString(const KernelTrial& trial);

// Attributes that any op can be tried with; `letters` for ops that carry their own.
Attributes AttributesFor(const OpDef& def, const std::string& letters);
// Those, and where an op does one thing or another by its attributes, what makes it do each.
std::vector<Attributes> AttributesToTry(const OpDef& def, const std::string& letters);

// Element `i` of operand `operand`: a multiple of 1/4 in [-2, 2], or a positive one where nothing
// else makes sense; of ids an index of the letter that they number or nobody's.
double TrialElement(const OpDef& def, size_t operand, int64_t i, int64_t ids);
// The size of the letter that ids are indices of; 0 where the op has none.
int64_t IdsOf(const OpDef& def, const Attributes& attributes, const std::vector<Shape>& shapes);

}  // namespace tp
