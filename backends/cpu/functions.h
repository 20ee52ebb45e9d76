// The elementary functions as kernels call them, and how far each is off at the worst.
//
// Eigen's, vectorised, and square roots as IEEE 754 has them: an element has the same bits wherever
// it lies. The errors are those of all
// 2^32 floats, worked out by //tests/backends/cpu:function_errors on the code that was compiled;
// functions.cc has them beside the command. They hold for one compiler, version of Eigen and
// instruction set, which the table names.
#pragma once

#include <span>
#include <string>

#include "tp/core/elementary.h"

namespace tp::cpu {

// out[i] = function(in[i]); of one length, and the same memory or apart.
void Apply(Function function, std::span<const float> in, std::span<float> out);

// Of these functions; null where they were compiled otherwise than when all floats were gone
// through.
const FunctionErrors* ErrorsOfFunctions();

// "GCC 12.2, Eigen 3.4.0, SSE, SSE2": what Apply was compiled as.
std::string FunctionLibrary();

}  // namespace tp::cpu
