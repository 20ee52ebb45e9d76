// Collectives over peer memory against plain loops, to the bit, sums in the order of members: every
// kind and algorithm, blocks of equal and of different lengths, empty ones, in place and not, step
// after step, for 2, 3, 4 and 8 members, spread over the GPUs that there are, or all on one.
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "backends/nccl/collectives/peer_collective.h"
#include "tests/backends/nccl/gpu_peer_member.h"
#include "tests/backends/nccl/gpus.h"
#include "tp/core/dtype.h"

namespace tp::nccl {
namespace {

constexpr int kSteps = 3;

// `devices`: of each member. Turns go as their parts, if asked for.
void Check(const PeerCase& c, PeerAlgorithm algorithm, const std::vector<int>& devices,
           bool in_place, bool as_parts = false) {
  SCOPED_TRACE(fmt::format("{} by {}, {} members, in place {}", ToString(c.call), Name(algorithm),
                           c.members, in_place));
  void* host = nullptr;
  ASSERT_EQ(cudaHostAlloc(&host, sizeof(unsigned), cudaHostAllocPortable | cudaHostAllocMapped),
            cudaSuccess);
  unsigned* const stop = static_cast<unsigned*>(host);
  *stop = 0;
  const int64_t scratch = PeerCollective::ScratchBytes(c.call, c.members, algorithm);
  std::vector<std::unique_ptr<MemberOnGpu>> members;
  std::vector<PeerMember> memory;
  for (int m = 0; m < c.members; ++m) {
    members.push_back(std::make_unique<MemberOnGpu>(c, m, devices[m], scratch, in_place));
    memory.push_back(members.back()->memory());
  }
  const bool shares_gpus = std::set<int>(devices.begin(), devices.end()).size() < devices.size();
  std::vector<PeerCollective> collectives;
  for (int m = 0; m < c.members; ++m) {
    collectives.emplace_back(c.call, algorithm, m, memory, stop, shares_gpus);
  }
  for (int step = 0; step < kSteps; ++step) {
    for (auto& member : members) member->Fill(step);
    for (int m = 0; m < c.members; ++m) {
      if (as_parts) {
        members[m]->EnqueueTurn(collectives[m], step % 2 == 1, stop);
      } else {
        members[m]->Enqueue(collectives[m]);
      }
    }
    for (int m = 0; m < c.members; ++m) {
      ASSERT_TRUE(members[m]->Ends(stop)) << "member " << m << " waits for ever, step " << step;
      ASSERT_EQ(members[m]->Result(), c.Expected(step, m)) << "member " << m << ", step " << step;
    }
  }
  members.clear();
  cudaFreeHost(stop);
}

std::vector<std::vector<int64_t>> Blocks(int members) {
  std::vector<int64_t> uneven(members), some_empty(members);
  for (int i = 0; i < members; ++i) {
    uneven[i] = 1001 - i;
    some_empty[i] = i % 2 == 0 ? 0 : 7;
  }
  return {std::vector<int64_t>(members, 4096), uneven, some_empty};
}

std::vector<PeerCase> Cases(int members, DType dtype) {
  std::vector<PeerCase> cases;
  for (Reduction reduction : {Reduction::kSum, Reduction::kMax, Reduction::kMin}) {
    for (int64_t count : {1, 5, 1000, 100003}) {
      cases.push_back({{CollectiveKind::kAllReduce, dtype, reduction, 0, {count}}, members});
    }
  }
  for (const std::vector<int64_t>& counts : Blocks(members)) {
    for (CollectiveKind kind : {CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
      cases.push_back({{kind, dtype, Reduction::kSum, 0, counts}, members});
    }
  }
  for (int root = 0; root < members; ++root) {
    cases.push_back({{CollectiveKind::kBroadcast, dtype, Reduction::kSum, root, {1001}}, members});
  }
  CollectiveCall all_to_all{CollectiveKind::kAllToAll, dtype, Reduction::kSum, 0, {}};
  for (int i = 0; i < members * members; ++i) {
    all_to_all.counts.push_back(i % 3 == 1 ? 0 : 5 + i);
  }
  cases.push_back({all_to_all, members});
  return cases;
}

// Each member sends to the one `turn` places behind it; one of them sends nothing.
PeerCase TurnCase(int members, int turn, int64_t scale) {
  PeerCase c{{CollectiveKind::kAllToAll, DType::kBFloat16, Reduction::kSum, 0, {}}, members};
  c.call.counts.assign(members * members, 0);
  for (int from = 1; from < members; ++from) {
    c.call.counts[from * members + (from + turn) % members] = scale * (100 + from);
  }
  return c;
}

void CheckAll(const std::vector<int>& devices) {
  const int count = static_cast<int>(devices.size());
  for (int turn = 1; turn < count; ++turn) {
    for (bool as_parts : {false, true}) {
      Check(TurnCase(count, turn, 1000), PeerAlgorithm::kCopies, devices, false, as_parts);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  for (DType dtype : kAllDTypes) {
    if (devices.size() > 4 && dtype != DType::kBFloat16) continue;  // each takes long
    for (const PeerCase& c : Cases(static_cast<int>(devices.size()), dtype)) {
      for (PeerAlgorithm algorithm : kAllPeerAlgorithms) {
        if (!HasForm(c.call.kind, algorithm)) continue;
        for (bool in_place : {false, true}) {
          if (in_place && !c.HasPlace()) continue;
          Check(c, algorithm, devices, in_place);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

class GpuPeersOnOneGpu : public testing::TestWithParam<int> {};

// No more than a GPU surely has queues for: see Rank::shares_gpus.
INSTANTIATE_TEST_SUITE_P(Members, GpuPeersOnOneGpu, testing::Values(2, 3, 4));

TEST_P(GpuPeersOnOneGpu, EveryCall) {
  ASSERT_GE(CountGpus(), 1);
  CheckAll(std::vector<int>(GetParam(), 0));
}

class GpuPeersBetweenGpus : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Members, GpuPeersBetweenGpus, testing::Values(2, 3, 4, 8));

TEST_P(GpuPeersBetweenGpus, EveryCall) {
  const int gpus = std::min(CountGpus(), GetParam());
  ASSERT_GE(gpus, 2) << "two GPUs at least";
  for (int device = 0; device < gpus; ++device) {
    ASSERT_EQ(cudaSetDevice(device), cudaSuccess);
    for (int other = 0; other < gpus; ++other) {
      if (other == device) continue;
      const cudaError_t enabled = cudaDeviceEnablePeerAccess(other, 0);
      ASSERT_TRUE(enabled == cudaSuccess || enabled == cudaErrorPeerAccessAlreadyEnabled)
          << cudaGetErrorString(enabled);
      cudaGetLastError();
    }
  }
  std::vector<int> devices;
  for (int member = 0; member < GetParam(); ++member) devices.push_back(member % gpus);
  CheckAll(devices);
}

// What goes beside products takes no multiprocessor from them; what is no turn may.
TEST(PeerAlgorithms, LargeTurnsAreCopies) {
  for (int members : {2, 4, 8}) {
    const PeerCase large = TurnCase(members, 1, 10000), small = TurnCase(members, 1, 1);
    EXPECT_EQ(ChoosePeerAlgorithm(large.call, members, Peers::kAuto), PeerAlgorithm::kCopies);
    EXPECT_EQ(ChoosePeerAlgorithm(small.call, members, Peers::kAuto), PeerAlgorithm::kDirect);
    CollectiveCall gather{CollectiveKind::kAllGather, DType::kBFloat16, Reduction::kSum, 0, {}};
    gather.counts.assign(members, 1000000 / (members - 1));
    EXPECT_EQ(ChoosePeerAlgorithm(gather, members, Peers::kAuto), PeerAlgorithm::kWrites);
  }
}

// What waits for a member that never comes ends when it is told to.
TEST(GpuPeers, StopEndsWhatWaits) {
  for (PeerAlgorithm algorithm : kAllPeerAlgorithms) {
    for (CollectiveKind kind : {CollectiveKind::kAllReduce, CollectiveKind::kBroadcast}) {
      if (!HasForm(kind, algorithm)) continue;
      const PeerCase c{{kind, DType::kFloat32, Reduction::kSum, 0, {1000}}, 2};
      void* stop = nullptr;
      ASSERT_EQ(cudaHostAlloc(&stop, sizeof(unsigned), cudaHostAllocMapped), cudaSuccess);
      *static_cast<unsigned*>(stop) = 0;
      const int64_t scratch = PeerCollective::ScratchBytes(c.call, 2, algorithm);
      MemberOnGpu here(c, 0, 0, scratch, false), absent(c, 1, 0, scratch, false);
      const PeerCollective collective(c.call, algorithm, 0, {here.memory(), absent.memory()},
                                      static_cast<unsigned*>(stop), /*shares_gpus=*/true);
      here.Enqueue(collective);
      *static_cast<volatile unsigned*>(stop) = 1;
      EXPECT_EQ(here.Result().size(), 1000u);  // it came to an end
      cudaFreeHost(stop);
    }
  }
}

// What members send adds up to what the algorithm says, which is the least that can be, or for the
// whole array sent to everybody p / 2 times that: with two members the same.
TEST(PeerBytes, AddUp) {
  for (int members : {2, 3, 4, 5, 8}) {
    for (const PeerCase& c : Cases(members, DType::kBFloat16)) {
      for (PeerAlgorithm algorithm : kAllPeerAlgorithms) {
        if (!HasForm(c.call.kind, algorithm)) continue;
        int64_t sent = 0;
        for (int m = 0; m < members; ++m) sent += BytesSent(c.call, members, m, algorithm);
        const int64_t least = MinimalElementsSent(c.call, members) * SizeOf(c.call.dtype);
        const bool all_of_it =
            algorithm == PeerAlgorithm::kDirect && c.call.kind == CollectiveKind::kAllReduce;
        EXPECT_EQ(sent, StatedBytes(c.call, members, algorithm)) << ToString(c.call);
        EXPECT_EQ(sent, all_of_it ? least * members / 2 : least) << ToString(c.call);
      }
    }
  }
}

// Whichever way is asked for, or chosen, is one that the call has a form of.
TEST(PeerAlgorithms, EveryChoiceHasAForm) {
  for (int members = 2; members <= kMostPeers; ++members) {
    for (PeerCase c : Cases(members, DType::kFloat32)) {
      for (int64_t scale : {1, 10, 100, 1000, 10000}) {
        PeerCase scaled = c;
        for (int64_t& count : scaled.call.counts) count *= scale;
        for (Peers peers : {Peers::kAuto, Peers::kDirect, Peers::kMedium, Peers::kBulk}) {
          const PeerAlgorithm algorithm = ChoosePeerAlgorithm(scaled.call, members, peers);
          EXPECT_TRUE(HasForm(c.call.kind, algorithm)) << ToString(scaled.call);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tp::nccl
