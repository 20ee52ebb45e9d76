#include <cblas.h>

#include <string>

#include "Eigen/Core"
#include "backends/cpu/gemm.h"

namespace tp::cpu {

void UseOneThreadPerGemm() { openblas_set_num_threads(1); }

std::string GemmLibrary() {
  const std::string config = openblas_get_config();  // "OpenBLAS 0.3.21 NO_AFFINITY ..."
  const size_t second_space = config.find(' ', config.find(' ') + 1);
  return config.substr(0, second_space) + " " + openblas_get_corename() + ", called by Eigen " +
         std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
         std::to_string(EIGEN_MINOR_VERSION);
}

}  // namespace tp::cpu
