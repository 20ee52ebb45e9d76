// Which of OpenBLAS's kernels suit a processor.
#pragma once

#include <string_view>

namespace tp::cpu {

// What a processor can do that matters to matrix products, each including the one before.
enum class VectorUnits { kOther, kAvx2, kAvx512 };

// What this processor and its system support, by cpuid.
VectorUnits ThisProcessor();

// The kernels to ask OpenBLAS for (OPENBLAS_CORETYPE) on a processor, where it chose `own` by
// itself; empty where that is as good, or a name that is not known here. OpenBLAS knows processors
// by their model number, and takes what all x86-64 processors can run for one that is newer than
// itself.
std::string_view BetterKernels(std::string_view own, VectorUnits processor);

}  // namespace tp::cpu
