#include "backends/nccl/backend.h"

namespace tp::nccl {

StatusOr<std::unique_ptr<Backend>> MakeBackend(const Options&) {
  return Unavailable(
      "this build has no CUDA, so there is no nccl backend; build with --config=cuda");
}

}  // namespace tp::nccl
