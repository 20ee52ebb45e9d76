// Which collectives go by copy engines: the same to who asks the backend as to who runs them.
#include <gtest/gtest.h>

#include <cstdint>

#include "backends/nccl/backend.h"
#include "backends/nccl/collectives/peer_collective.h"
#include "tp/core/collective.h"
#include "tp/core/dtype.h"

namespace tp::nccl {
namespace {

// What a backend says of itself is what it does.
TEST(PeerAlgorithms, GathersFromSoManyBytesAreCopies) {
  for (Peers peers : {Peers::kAuto, Peers::kDirect, Peers::kMedium, Peers::kBulk}) {
    const int64_t half = LeastCopied(peers) / 2;  // in elements of two bytes
    for (int64_t count : {int64_t{1}, half, half + 1}) {
      if (count == 0) continue;
      CollectiveCall gather{CollectiveKind::kAllGather, DType::kBFloat16, Reduction::kSum, 0, {}};
      gather.counts.assign(2, count);
      const bool copied = LeastCopied(peers) > 0 && 2 * count >= LeastCopied(peers);
      EXPECT_EQ(ChoosePeerAlgorithm(gather, 2, peers) == PeerAlgorithm::kCopies, copied) << count;
    }
  }
}

}  // namespace
}  // namespace tp::nccl
