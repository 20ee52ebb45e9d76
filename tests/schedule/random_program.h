// Random Programs that verify, for properties that every Program has.
#pragma once

#include <set>
#include <string>

#include "tests/program/evaluate.h"
#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/program/program.h"

namespace tp {

struct RandomProgram {
  Program program;
  Sources sources;
  std::set<std::string> fixed;  // sources of which other numbers need not make sense, such as ids
};

// How much there may be of it.
struct ProgramLimits {
  int ops = 13;
  int products = 3;               // products and losses
  DType dtype = DType::kFloat32;  // of what is no id and no accumulator
  // Whether nothing may round in double, in whatever order sums are taken. Then `==` holds.
  bool exact = true;
};

// To be called in a RapidCheck property. Inputs and parameters of up to six dimensions and of any
// placement, then a linear layer's ops on any values that fit, most of them redistributes, products
// of any letters, and any ops of the list, with sources of their own where no value fits; any
// values as results. Elements are small integers or quarters, and numbers are finite.
RandomProgram DrawProgram(const ProgramLimits& limits = {});

// Of tp and dp, or of tp, kv and dp, the axes that a drawn program speaks of. At most 18 ranks.
Mesh DrawMesh();
// "tp 2 kv 3 dp 1"
std::string Describe(const Mesh& mesh);
// Whether each of its axes does.
bool SplitsIntoBlocks(const Mesh& mesh);

}  // namespace tp
