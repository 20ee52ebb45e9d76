#include "tp/program/op_def.h"

namespace tp {

constinit const OpDef kInput = {.name = "input", .role = OpRole::kInput};
constinit const OpDef kParameter = {.name = "parameter", .role = OpRole::kParameter};
constinit const OpDef kRedistribute = {.name = "redistribute", .role = OpRole::kRedistribute};

}  // namespace tp
