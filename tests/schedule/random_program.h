// Random Programs that verify, for properties that every Program has.
#pragma once

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
// placement, then ops of every kind on any values that fit, most of them redistributes, products of
// any letters; any values as results. Elements are
// small integers and scales powers of two, and there are few products, so that double is exact.
RandomProgram DrawProgram(const ProgramLimits& limits = {});

// At most 4 x 3 ranks.
Mesh DrawMesh();

}  // namespace tp
