// Random Programs that verify, for properties that every Program has.
#pragma once

#include <string>

#include "tests/program/evaluate.h"
#include "tp/core/mesh.h"
#include "tp/program/program.h"

namespace tp {

struct RandomProgram {
  Program program;
  Sources sources;
};

// How much there may be of it.
struct ProgramLimits {
  int ops = 13;
  int products = 3;  // ops that multiply values
};

// To be called in a RapidCheck property. Inputs and parameters of up to six dimensions and of any
// placement, then a linear layer's ops on any values that fit, most of them redistributes, and
// products of any letters; any values as results. Elements are small integers and scales powers of
// two, and there are few products, so that double is exact.
RandomProgram DrawProgram(const ProgramLimits& limits = {});

// Of tp and dp, or of tp, kv and dp, the axes that a drawn program speaks of. At most 18 ranks.
Mesh DrawMesh();
// "tp 2 kv 3 dp 1"
std::string Describe(const Mesh& mesh);
// Whether each of its axes does.
bool SplitsIntoBlocks(const Mesh& mesh);

}  // namespace tp
