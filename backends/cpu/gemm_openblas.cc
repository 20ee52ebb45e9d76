#include <cblas.h>

#include <algorithm>
#include <string>
#include <vector>

#include "Eigen/Core"
#include "backends/cpu/gemm.h"

// OpenBLAS's own pool of buffers, one for each product under way (driver/others/memory.c). It grows
// when a product finds none free, which is some time, not in the first steps.
extern "C" {
void* blas_memory_alloc(int position);
void blas_memory_free(void* buffer);
}

namespace tp::cpu {

void UseOneThreadPerGemm() { openblas_set_num_threads(1); }

void ReserveGemms(int count) {
  constexpr int kMost = 128;  // the pool's table has an end
  std::vector<void*> buffers(std::min(count, kMost));
  for (void*& buffer : buffers) buffer = blas_memory_alloc(0);
  for (void* buffer : buffers) blas_memory_free(buffer);
}

std::string GemmLibrary() {
  const std::string config = openblas_get_config();  // "OpenBLAS 0.3.21 NO_AFFINITY ..."
  const size_t second_space = config.find(' ', config.find(' ') + 1);
  return config.substr(0, second_space) + " " + openblas_get_corename() + ", called by Eigen " +
         std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
         std::to_string(EIGEN_MINOR_VERSION);
}

}  // namespace tp::cpu
