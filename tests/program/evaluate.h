// What a Program means: its values as whole tensors, whatever their placements.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tp/program/program.h"

namespace tp {

// Element `index` (row-major) of a global tensor.
using Source = std::function<double(int64_t index)>;
using Sources = std::map<std::string, Source>;

// Every value, row-major, by id: plain loops in double, one op after the other, no placement read.
// Inputs and parameters come from `sources` by name, which must be there. Values that no op writes
// are empty.
std::vector<std::vector<double>> Evaluate(const Program& program, const Sources& sources);

}  // namespace tp
