#include "tp/runtime/blob.h"

#include <glog/logging.h>

namespace tp {

std::span<const std::byte> BlobReader::Take(size_t size) {
  CHECK_LE(size, rest_.size()) << "a blob ends early";
  const std::span<const std::byte> taken = rest_.first(size);
  rest_ = rest_.subspan(size);
  return taken;
}

}  // namespace tp
