// Members of a collective over peer memory, on GPUs, and what each is to have: by plain loops, to
// the bit, sums in the order of members.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "backends/nccl/collectives/peer_collective.h"
#include "tp/core/clock.h"
#include "tp/core/dtype.h"

namespace tp::nccl {

using Values = std::vector<double>;

// What a call is to do, member by member.
struct PeerCase {
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
class MemberOnGpu {
 public:
  MemberOnGpu(const PeerCase& c, int me, int device, int64_t scratch, bool in_place)
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
  ~MemberOnGpu() {
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
  // False if what was enqueued does not end; it is then told to stop.
  bool Ends(unsigned* stop) const {
    constexpr int64_t kDeadlineNs = 60'000'000'000;
    const int64_t begin = HostClock().NowNs();
    while (cudaStreamQuery(stream_) == cudaErrorNotReady) {
      if (HostClock().NowNs() - begin < kDeadlineNs) continue;
      *static_cast<volatile unsigned*>(stop) = 1;
      return false;
    }
    return true;
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

  const PeerCase& case_;
  const int me_;
  const int device_;
  cudaStream_t stream_ = nullptr;
  char* send_ = nullptr;
  char* receive_ = nullptr;
  char* scratch_ = nullptr;
  unsigned* step_ = nullptr;
  PeerMember memory_;
};

}  // namespace tp::nccl
