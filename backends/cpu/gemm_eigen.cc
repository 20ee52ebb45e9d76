#include <string>

#include "Eigen/Core"
#include "backends/cpu/gemm.h"

namespace tp::cpu {

void UseOneThreadPerGemm() {}  // without OpenMP, Eigen uses one thread

void ReserveGemms(int) {}

std::string GemmLibrary() {
  return "Eigen " + std::to_string(EIGEN_WORLD_VERSION) + "." +
         std::to_string(EIGEN_MAJOR_VERSION) + "." + std::to_string(EIGEN_MINOR_VERSION);
}

}  // namespace tp::cpu
