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
#include "tests/backends/nccl/gpus.h"
#include "tp/core/dtype.h"

namespace tp::nccl {
namespace {

constexpr int kSteps = 3;
using Values = std::vector<double>;

// What a call is to do, member by member.
struct Case {
  CollectiveCall call;
  int members = 0;

  int64_t Total() const {
    return std::accumulate(call.counts.begin(), call.counts.end(), int64_t{0});
  }
  int64_t Sum(int begin, int end, int stride = 1) const {
    int64_t sum = 0;
    for (int i = begin; i < end; i += stride) sum += call.counts[i];
    return sum;
  }
  int64_t SendCount(int member) const {
    switch (call.kind) {
      case CollectiveKind::kAllGather:
        return call.counts[member];
      case CollectiveKind::kAllToAll:
        return Sum(member * members, (member + 1) * members);
      default:
        return Total();
    }
  }
  int64_t ReceiveCount(int member) const {
    switch (call.kind) {
      case CollectiveKind::kReduceScatter:
        return call.counts[member];
      case CollectiveKind::kAllToAll:
        return Sum(member, members * members, members);
      default:
        return Total();
    }
  }
  // Of which no sum is exact; another one in each step.
  double ValueOf(int step, int member, int64_t i) const {
    return RoundTo(call.dtype,
                   static_cast<double>((i * 7 + member * 3 + step * 5) % 29 - 14) / (3 + member));
  }
  Values SentBy(int step, int member, int64_t count) const {
    Values values(count);
    for (int64_t i = 0; i < count; ++i) values[i] = ValueOf(step, member, i);
    return values;
  }
  // In the order of members, in the accumulator's type, rounded once.
  double Reduced(int step, int64_t i) const {
    double result = ValueOf(step, 0, i);
    for (int m = 1; m < members; ++m) {
      const double value = ValueOf(step, m, i);
      result = call.reduction == Reduction::kSum
                   ? RoundTo(AccumulatorOf(call.dtype), result + value)
               : call.reduction == Reduction::kMax ? std::max(result, value)
                                                   : std::min(result, value);
    }
    return RoundTo(call.dtype, result);
  }
  Values Expected(int step, int member) const {
    Values values;
    switch (call.kind) {
      case CollectiveKind::kAllReduce:
        for (int64_t i = 0; i < Total(); ++i) values.push_back(Reduced(step, i));
        break;
      case CollectiveKind::kReduceScatter:
        for (int64_t i = 0; i < call.counts[member]; ++i) {
          values.push_back(Reduced(step, Sum(0, member) + i));
        }
        break;
      case CollectiveKind::kAllGather:
        for (int m = 0; m < members; ++m) {
          const Values part = SentBy(step, m, call.counts[m]);
          values.insert(values.end(), part.begin(), part.end());
        }
        break;
      case CollectiveKind::kBroadcast:
        values = SentBy(step, call.root, Total());
        break;
      default:
        for (int m = 0; m < members; ++m) {
          const Values all = SentBy(step, m, SendCount(m));
          const auto begin = all.begin() + Sum(m * members, m * members + member);
          values.insert(values.end(), begin, begin + call.counts[m * members + member]);
        }
    }
    return values;
  }
  // Where `send` lies in `receive`, or the other way round, in place.
  bool HasPlace() const {
    return call.kind != CollectiveKind::kBroadcast && call.kind != CollectiveKind::kAllToAll;
  }
};

// One member's memory on a GPU of its own or of others too.
class Member {
 public:
  Member(const Case& c, int me, int device, int64_t scratch, bool in_place)
      : case_(c), me_(me), device_(device) {
    EXPECT_EQ(cudaSetDevice(device_), cudaSuccess);
    EXPECT_EQ(LoadPeerKernels(c.call.dtype, c.members), cudaSuccess);
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    send_ = Allocate(c.SendCount(me) * SizeOf(c.call.dtype));
    receive_ = Allocate(c.ReceiveCount(me) * SizeOf(c.call.dtype));
    scratch_ = Allocate(scratch);
    step_ = reinterpret_cast<unsigned*>(Allocate(sizeof(unsigned)));
    memory_ = {send_, receive_, scratch_};
    if (!in_place) return;
    const int64_t at =
        c.call.kind == CollectiveKind::kAllReduce ? 0 : c.Sum(0, me) * SizeOf(c.call.dtype);
    if (c.call.kind == CollectiveKind::kReduceScatter) {
      memory_.receive = send_ + at;
    } else {
      memory_.send = receive_ + at;
    }
  }
  ~Member() {
    EXPECT_EQ(cudaSetDevice(device_), cudaSuccess);
    for (char* data : {send_, receive_, scratch_}) cudaFree(data);
    cudaFree(step_);
    cudaStreamDestroy(stream_);
  }

  const PeerMember& memory() const { return memory_; }

  void Fill(int step) {
    const Values values = case_.SentBy(step, me_, case_.SendCount(me_));
    std::vector<std::byte> bytes(values.size() * SizeOf(case_.call.dtype));
    EncodeFromDouble(case_.call.dtype, values, bytes);
    EXPECT_EQ(cudaMemcpy(memory_.send, bytes.data(), bytes.size(), cudaMemcpyHostToDevice),
              cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  void Enqueue(const PeerCollective& collective) {
    EXPECT_EQ(cudaSetDevice(device_), cudaSuccess);
    const Status status = collective.Enqueue(stream_);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  // As its parts; nothing in here needs its meeting, but it may have one.
  void EnqueueTurn(const PeerCollective& turn, bool meets, const unsigned* stop) {
    EXPECT_EQ(cudaSetDevice(device_), cudaSuccess);
    EXPECT_EQ(EnqueueNextStep(step_, stream_), cudaSuccess);
    EXPECT_TRUE(!meets || turn.MeetBeforeTurn(stream_, nullptr).ok());
    EXPECT_TRUE(turn.SendTurn(stream_).ok());
    EXPECT_TRUE(turn.TellOfTurn(step_, stream_).ok());
    EXPECT_EQ(EnqueueArrivals({{turn.told()}, 1, step_, stop}, stream_), cudaSuccess);
  }
  Values Result() {
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    Values values(case_.ReceiveCount(me_));
    std::vector<std::byte> bytes(values.size() * SizeOf(case_.call.dtype));
    EXPECT_EQ(cudaMemcpy(bytes.data(), memory_.receive, bytes.size(), cudaMemcpyDeviceToHost),
              cudaSuccess);
    DecodeToDouble(case_.call.dtype, bytes, values);
    return values;
  }

 private:
  static char* Allocate(int64_t bytes) {
    void* data = nullptr;
    EXPECT_EQ(cudaMalloc(&data, bytes + 16), cudaSuccess);
    EXPECT_EQ(cudaMemset(data, 0, bytes + 16), cudaSuccess);
    return static_cast<char*>(data);
  }

  const Case& case_;
  const int me_;
  const int device_;
  cudaStream_t stream_ = nullptr;
  char* send_ = nullptr;
  char* receive_ = nullptr;
  char* scratch_ = nullptr;
  unsigned* step_ = nullptr;
  PeerMember memory_;
};

// `devices`: of each member. Turns go as their parts, if asked for.
void Check(const Case& c, PeerAlgorithm algorithm, const std::vector<int>& devices, bool in_place,
           bool as_parts = false) {
  SCOPED_TRACE(fmt::format("{} by {}, {} members, in place {}", ToString(c.call), Name(algorithm),
                           c.members, in_place));
  void* stop = nullptr;
  ASSERT_EQ(cudaHostAlloc(&stop, sizeof(unsigned), cudaHostAllocPortable | cudaHostAllocMapped),
            cudaSuccess);
  *static_cast<unsigned*>(stop) = 0;
  const int64_t scratch = PeerCollective::ScratchBytes(c.call, c.members, algorithm);
  std::vector<std::unique_ptr<Member>> members;
  std::vector<PeerMember> memory;
  for (int m = 0; m < c.members; ++m) {
    members.push_back(std::make_unique<Member>(c, m, devices[m], scratch, in_place));
    memory.push_back(members.back()->memory());
  }
  const bool shares_gpus = std::set<int>(devices.begin(), devices.end()).size() < devices.size();
  std::vector<PeerCollective> collectives;
  for (int m = 0; m < c.members; ++m) {
    collectives.emplace_back(c.call, algorithm, m, memory, static_cast<unsigned*>(stop),
                             shares_gpus);
  }
  for (int step = 0; step < kSteps; ++step) {
    for (auto& member : members) member->Fill(step);
    for (int m = 0; m < c.members; ++m) {
      if (as_parts) {
        members[m]->EnqueueTurn(collectives[m], step % 2 == 1, static_cast<unsigned*>(stop));
      } else {
        members[m]->Enqueue(collectives[m]);
      }
    }
    for (int m = 0; m < c.members; ++m) {
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

std::vector<Case> Cases(int members, DType dtype) {
  std::vector<Case> cases;
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
Case TurnCase(int members, int turn, int64_t scale) {
  Case c{{CollectiveKind::kAllToAll, DType::kBFloat16, Reduction::kSum, 0, {}}, members};
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
    for (const Case& c : Cases(static_cast<int>(devices.size()), dtype)) {
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
    const Case large = TurnCase(members, 1, 10000), small = TurnCase(members, 1, 1);
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
      const Case c{{kind, DType::kFloat32, Reduction::kSum, 0, {1000}}, 2};
      void* stop = nullptr;
      ASSERT_EQ(cudaHostAlloc(&stop, sizeof(unsigned), cudaHostAllocMapped), cudaSuccess);
      *static_cast<unsigned*>(stop) = 0;
      const int64_t scratch = PeerCollective::ScratchBytes(c.call, 2, algorithm);
      Member here(c, 0, 0, scratch, false), absent(c, 1, 0, scratch, false);
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
    for (const Case& c : Cases(members, DType::kBFloat16)) {
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
    for (Case c : Cases(members, DType::kFloat32)) {
      for (int64_t scale : {1, 10, 100, 1000, 10000}) {
        Case scaled = c;
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
