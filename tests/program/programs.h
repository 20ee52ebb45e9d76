// Short ways to build and describe Programs in tests. What does not build ends the test.
#pragma once

#include <string>
#include <vector>

#include "tp/program/program.h"

namespace tp {

// Every placement that a matrix can have on one axis.
std::vector<Placement> AllPlacements();

// `on_axis` on `axis` and Replicate on the other one.
Placements On(Axis axis, Placement on_axis);

ValueId Input(Program& program, const std::string& name, Shape shape, Placements placements = {},
              DType dtype = DType::kFloat32);
ValueId Parameter(Program& program, const std::string& name, Shape shape,
                  Placements placements = {}, DType dtype = DType::kFloat32);

// One line for each redistribute: "backward dx: tp Partial -> Replicate".
std::vector<std::string> Redistributes(const Program& program);

// The kinds of all ops but sources, in order: "matmul", "add_bias", ...
std::vector<std::string> OpNames(const Program& program);

}  // namespace tp
