// What a Program means: its values as whole tensors, whatever their placements.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tp/core/bounded.h"
#include "tp/core/dual.h"
#include "tp/program/program.h"

namespace tp {

// Element `index` (row-major) of a global tensor.
using Source = std::function<double(int64_t index)>;
using Sources = std::map<std::string, Source>;

// Every value, row-major, by id: plain loops in double, one op after the other, no placement read.
// Inputs and parameters come from `sources` by name, which must be there. Values that no op writes
// are empty.
std::vector<std::vector<double>> Evaluate(const Program& program, const Sources& sources);

// What holds the elements of source `id` after a step: the output that updates it, or itself.
ValueId AfterStep(const Program& program, ValueId id);

// The outputs of one op by its reference, from its operands as whole tensors of these shapes; or as
// parts of tensors, of which `parts` says where each letter's begins.
std::vector<std::vector<double>> EvaluateOp(const OpDef& def, const Attributes& attributes,
                                            const std::vector<Shape>& shapes,
                                            std::vector<std::vector<double>> in,
                                            const std::vector<LetterPart>& parts = {});
std::vector<std::vector<DualNumber>> EvaluateOp(const OpDef& def, const Attributes& attributes,
                                                const std::vector<Shape>& shapes,
                                                std::vector<std::vector<DualNumber>> in);
std::vector<std::vector<BoundedNumber>> EvaluateOp(const OpDef& def, const Attributes& attributes,
                                                   const std::vector<Shape>& shapes,
                                                   std::vector<std::vector<BoundedNumber>> in);

}  // namespace tp
