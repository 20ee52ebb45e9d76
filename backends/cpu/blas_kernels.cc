#include "backends/cpu/blas_kernels.h"

#include <algorithm>
#include <iterator>

namespace tp::cpu {
namespace {

// OpenBLAS's names (openblas_get_corename) of kernels that use neither AVX-512 nor AVX2.
constexpr std::string_view kBeforeAvx2[] = {
    "Katmai", "Coppermine", "Northwood", "Prescott",    "Banias",       "Atom",    "Core2",
    "Penryn", "Dunnington", "Nehalem",   "Sandybridge", "Athlon",       "Opteron", "Barcelona",
    "Bobcat", "Nano",       "Bulldozer", "Piledriver",  "Opteron_SSE3", "Generic", "Steamroller",
};
constexpr std::string_view kAvx2[] = {"Haswell", "Zen", "Excavator"};

template <size_t kSize>
bool IsAmong(const std::string_view (&names)[kSize], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace

VectorUnits ThisProcessor() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return VectorUnits::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return VectorUnits::kAvx2;
#endif
  return VectorUnits::kOther;
}

std::string_view BetterKernels(std::string_view own, VectorUnits processor) {
  const bool old = IsAmong(kBeforeAvx2, own);
  if (processor == VectorUnits::kAvx512 && (old || IsAmong(kAvx2, own))) return "SkylakeX";
  if (processor == VectorUnits::kAvx2 && old) return "Haswell";
  return "";
}

}  // namespace tp::cpu
