#include "tp/core/shard_geometry.h"

#include <glog/logging.h>

namespace tp {

ShardGeometry::ShardGeometry(int64_t size, int parts) : size_(size), parts_(parts) {
  CHECK_GE(size, 0);
  CHECK_GE(parts, 1);
}

}  // namespace tp
