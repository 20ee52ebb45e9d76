// Who sends how much to whom: that the algorithms are the ones that they are named for. And what
// happens when the wire fails: a faulty endpoint in the place of one member's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/harness.h"
#include "tp/core/dtype.h"

namespace tp::sim {
namespace {

using testing::HasSubstr;

// Hands everything on; what a test overrides, it changes.
class Relay : public Endpoint {
 public:
  explicit Relay(std::unique_ptr<Endpoint> inner) : inner_(std::move(inner)) {}

  int member() const override { return inner_->member(); }
  int size() const override { return inner_->size(); }
  int64_t bytes_sent() const override { return inner_->bytes_sent(); }
  Status Send(int to, std::span<const std::byte> data) override { return inner_->Send(to, data); }
  Status Recv(int from, std::span<std::byte> data) override { return inner_->Recv(from, data); }
  Status RecvReduce(int from, std::span<const std::byte> local, std::span<std::byte> out,
                    DType dtype, Reduction reduction) override {
    return inner_->RecvReduce(from, local, out, dtype, reduction);
  }
  void Copy(const std::byte* from, std::span<std::byte> to) override { inner_->Copy(from, to); }
  void Reduce(std::span<const std::byte> a, std::span<const std::byte> b, std::span<std::byte> out,
              DType dtype, Reduction reduction) override {
    inner_->Reduce(a, b, out, dtype, reduction);
  }
  Status Flush() override { return inner_->Flush(); }

 private:
  std::unique_ptr<Endpoint> inner_;
};

struct Traffic {
  int64_t messages = 0;
  int64_t bytes = 0;
  std::set<int> receivers;
};

class Counter final : public Relay {
 public:
  Counter(std::unique_ptr<Endpoint> inner, Traffic& traffic)
      : Relay(std::move(inner)), traffic_(traffic) {}

  Status Send(int to, std::span<const std::byte> data) override {
    ++traffic_.messages;
    traffic_.bytes += static_cast<int64_t>(data.size());
    traffic_.receivers.insert(to);
    return Relay::Send(to, data);
  }

 private:
  Traffic& traffic_;
};

// What each member sends for one call.
std::vector<Traffic> TrafficOf(const CollectiveCall& call, Algorithm algorithm, int world) {
  std::vector<Traffic> traffic(world);
  const auto scheduler = MakeSeededScheduler({.deadline = {}, .seed = 5});
  Fabric fabric(*scheduler, world, [&](std::unique_ptr<Endpoint> inner) {
    Traffic& mine = traffic[inner->member()];
    return std::make_unique<Counter>(std::move(inner), mine);
  });
  for (const Status& status : RunOnce(fabric, call, algorithm)) {
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  return traffic;
}

CollectiveCall Call(CollectiveKind kind, int world, int64_t count) {
  return MakeCall(kind, DType::kFloat64, world, count, 1);
}

TEST(TrafficTest, RingSendsToTheNextMemberOnly) {
  for (int world : {2, 3, 7, 16}) {
    for (const Traffic& each :
         TrafficOf(Call(CollectiveKind::kAllReduce, world, 10 * world), Algorithm::kRing, world)) {
      EXPECT_EQ(each.messages, 2 * (world - 1));
      EXPECT_EQ(each.bytes, 2 * (world - 1) * 10 * 8);
      EXPECT_EQ(each.receivers.size(), 1u);
    }
  }
}

TEST(TrafficTest, HalvingDoublingTalksToOnePartnerForEachBit) {
  for (int world : {2, 4, 16, 32}) {
    const auto traffic = TrafficOf(Call(CollectiveKind::kAllReduce, world, 10 * world),
                                   Algorithm::kHalvingDoubling, world);
    const int bits = std::countr_zero(static_cast<unsigned>(world));
    for (int member = 0; member < world; ++member) {
      EXPECT_EQ(traffic[member].messages, 2 * bits);
      EXPECT_EQ(traffic[member].bytes, 2 * (world - 1) * 10 * 8);
      std::set<int> partners;
      for (int bit = 0; bit < bits; ++bit) partners.insert(member ^ (1 << bit));
      EXPECT_EQ(traffic[member].receivers, partners);
    }
  }
}

TEST(TrafficTest, DirectTalksToEverybodyTwice) {
  for (int world : {2, 3, 7, 16}) {
    for (const Traffic& each : TrafficOf(Call(CollectiveKind::kAllReduce, world, 10 * world),
                                         Algorithm::kDirect, world)) {
      EXPECT_EQ(each.messages, 2 * (world - 1));
      EXPECT_EQ(each.receivers.size(), static_cast<size_t>(world - 1));
    }
  }
}

// A member has children in one tree at most. So it sends up half the array in each tree, and down
// at most two halves; and it talks to two parents and two children at most.
TEST(TrafficTest, NoMemberOfADoubleTreeForwardsMoreThanTheArray) {
  for (int world = 2; world <= 40; ++world) {
    constexpr int64_t kBytes = 1000 * 8;
    for (const Traffic& each :
         TrafficOf(Call(CollectiveKind::kAllReduce, world, 1000), Algorithm::kTree, world)) {
      EXPECT_LE(each.bytes, 2 * kBytes) << world;
      EXPECT_LE(each.receivers.size(), 4u) << world;
    }
    for (const Traffic& each :
         TrafficOf(Call(CollectiveKind::kBroadcast, world, 1000), Algorithm::kTree, world)) {
      EXPECT_LE(each.bytes, kBytes) << world;
      EXPECT_LE(each.receivers.size(), 2u) << world;
    }
  }
}

TEST(TrafficTest, BarrierTakesOneEmptyMessageForEachDoubling) {
  for (int world : {2, 3, 5, 8, 9}) {
    for (const Traffic& each :
         TrafficOf(Call(CollectiveKind::kBarrier, world, 0), Algorithm::kDirect, world)) {
      EXPECT_EQ(each.messages, std::bit_width(static_cast<unsigned>(world - 1)));
      EXPECT_EQ(each.bytes, 0);
    }
  }
}

// Drops what the nth receive of a member should have brought.
class Dropper final : public Relay {
 public:
  Dropper(std::unique_ptr<Endpoint> inner, int nth) : Relay(std::move(inner)), left_(nth) {}

  Status Recv(int from, std::span<std::byte> data) override {
    Bytes lost(data.size());
    return --left_ == 0 ? Relay::Recv(from, lost) : Relay::Recv(from, data);
  }
  Status RecvReduce(int from, std::span<const std::byte> local, std::span<std::byte> out,
                    DType dtype, Reduction reduction) override {
    if (--left_ != 0) return Relay::RecvReduce(from, local, out, dtype, reduction);
    Bytes lost(out.size());
    std::copy(local.begin(), local.end(), out.begin());
    return Relay::Recv(from, lost);
  }

 private:
  int left_;
};

// Sends one byte too few, or fails, at its second message.
class ShortSender final : public Relay {
 public:
  using Relay::Relay;
  Status Send(int to, std::span<const std::byte> data) override {
    return ++sent_ == 2 ? Relay::Send(to, data.first(data.size() - 1)) : Relay::Send(to, data);
  }

 private:
  int sent_ = 0;
};
class FailingSender final : public Relay {
 public:
  using Relay::Relay;
  Status Send(int to, std::span<const std::byte> data) override {
    return ++sent_ == 2 ? Unavailable("the cable is cut") : Relay::Send(to, data);
  }

 private:
  int sent_ = 0;
};

// A world of four where `wrap` replaces member 1's endpoint.
std::vector<Status> RunWithFault(
    Scheduler& scheduler, const CollectiveCall& call, Algorithm algorithm,
    const std::function<std::unique_ptr<Endpoint>(std::unique_ptr<Endpoint>)>& wrap) {
  Fabric fabric(scheduler, 4, [&](std::unique_ptr<Endpoint> inner) {
    return inner->member() == 1 ? wrap(std::move(inner)) : std::move(inner);
  });
  return RunOnce(fabric, call, algorithm);
}

TEST(FaultTest, AChunkDroppedAnywhereGivesAWrongResult) {
  for (CollectiveKind kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
    for (Algorithm algorithm : FormsOf(kind)) {
      for (int nth = 1; nth <= 2; ++nth) {
        const auto scheduler = MakeSeededScheduler({.deadline = {}, .seed = 1});
        const auto statuses = RunWithFault(
            *scheduler, MakeCall(kind, DType::kFloat32, 4, 1031, 3), algorithm,
            [&](auto inner) { return std::make_unique<Dropper>(std::move(inner), nth); });
        EXPECT_TRUE(
            std::any_of(statuses.begin(), statuses.end(),
                        [](const Status& status) { return status.message() == "wrong result"; }))
            << Name(kind) << " by " << Name(algorithm) << ", receive " << nth;
      }
    }
  }
}

TEST(FaultTest, AShortMessageIsAnErrorThatNamesBothEndsAndTheCall) {
  const CollectiveCall call = Call(CollectiveKind::kAllReduce, 4, 1031);
  const auto scheduler = MakeSeededScheduler({.deadline = {}, .seed = 1});
  RunWithFault(*scheduler, call, Algorithm::kRing,
               [](auto inner) { return std::make_unique<ShortSender>(std::move(inner)); });
  EXPECT_EQ(scheduler->cause().code(), StatusCode::kInternal);
  EXPECT_THAT(scheduler->cause().message(),
              HasSubstr("rank 2: " + ToString(call) + ": message 2 from rank 1 to rank 2"));
}

TEST(FaultTest, AMemberThatFailsMidwayIsNamedByAllOthers) {
  const CollectiveCall call = Call(CollectiveKind::kAllReduce, 4, 1031);
  for (uint64_t seed = 0; seed < 100; ++seed) {
    for (Algorithm algorithm : FormsOf(CollectiveKind::kAllReduce)) {
      std::unique_ptr<Scheduler> scheduler = MakeSeededScheduler({.deadline = {}, .seed = seed});
      if (seed == 0) scheduler = MakeFreeScheduler({});
      const auto statuses = RunWithFault(*scheduler, call, algorithm, [](auto inner) {
        return std::make_unique<FailingSender>(std::move(inner));
      });
      EXPECT_THAT(statuses[1].ToString(), HasSubstr("UNAVAILABLE: "));
      for (int rank : {0, 2, 3}) {
        if (statuses[rank].ok()) continue;  // it had all that it needed
        EXPECT_EQ(statuses[rank].code(), StatusCode::kAborted);
        EXPECT_THAT(statuses[rank].message(), HasSubstr("rank 1 failed first: UNAVAILABLE: "));
        EXPECT_THAT(statuses[rank].message(), HasSubstr("the cable is cut"));
      }
    }
  }
}

}  // namespace
}  // namespace tp::sim
