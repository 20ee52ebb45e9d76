// How far the elementary functions of kernels are off in fp32, at the worst.
//
// exp, log and tanh are CUDA's, of which the CUDA C++ Programming Guide says the greatest error in
// its appendix on mathematical functions; square roots and division are rounded as IEEE 754 has it,
// but for a sigmoid's reciprocal, which is the hardware's.
// //tests/backends/nccl:gpu_selftest (GpuFunctions.*) holds the table against floats on a GPU, all
// of them with TP_ALL_FLOATS=1.
#pragma once

#include "tp/core/elementary.h"

namespace tp::nccl {

const FunctionErrors* ErrorsOfFunctions();

}  // namespace tp::nccl
