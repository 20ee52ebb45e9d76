#include "backends/cpu/blas.h"

namespace tp::cpu {

const Blas* LoadedBlas() { return nullptr; }

std::string DescribeBlas() { return ""; }

Status ReserveBlas(int) { return OkStatus(); }

}  // namespace tp::cpu
