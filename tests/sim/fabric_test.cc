#include "sim/fabric/fabric.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "sim/fabric/reduce.h"
#include "tests/sim/harness.h"
#include "tp/core/dtype.h"

namespace tp::sim {
namespace {

using testing::HasSubstr;

template <typename T>
std::span<const std::byte> In(const std::vector<T>& values) {
  return std::as_bytes(std::span<const T>(values));
}
template <typename T>
std::span<std::byte> Out(std::vector<T>& values) {
  return std::as_writable_bytes(std::span<T>(values));
}

// Two ranks, each with an endpoint, over one seed of the seeded scheduler.
class PairTest : public testing::Test {
 protected:
  std::vector<Status> Run(const std::function<Status(Endpoint&)>& zero,
                          const std::function<Status(Endpoint&)>& one, uint64_t seed = 0) {
    const auto scheduler = MakeSeededScheduler({.deadline = {}, .seed = seed});
    Fabric fabric(*scheduler, 2);
    return RunRanks(*scheduler, 2, [&](int rank) -> Status {
      TP_ASSIGN_OR_RETURN(std::shared_ptr<Group> group, fabric.Join(1, {0, 1}, rank));
      const auto endpoint = fabric.MakeEndpoint(group, rank);
      return rank == 0 ? zero(*endpoint) : one(*endpoint);
    });
  }
};

TEST_F(PairTest, MessagesArriveInOrderWhateverTheSeed) {
  constexpr int kMessages = 20;  // more than a mailbox holds
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::vector<int> sent(kMessages), received(kMessages, -1);
    for (int i = 0; i < kMessages; ++i) sent[i] = i;
    const auto statuses = Run(
        [&](Endpoint& endpoint) -> Status {
          for (int i = 0; i < kMessages; ++i) {
            TP_RETURN_IF_ERROR(endpoint.Send(1, In(sent).subspan(i * sizeof(int), sizeof(int))));
          }
          TP_RETURN_IF_ERROR(endpoint.Flush());
          EXPECT_EQ(received.back(), kMessages - 1) << "Flush returned before all was read";
          EXPECT_EQ(endpoint.bytes_sent(), int64_t{kMessages * sizeof(int)});
          return OkStatus();
        },
        [&](Endpoint& endpoint) -> Status {
          for (int i = 0; i < kMessages; ++i) {
            TP_RETURN_IF_ERROR(
                endpoint.Recv(0, Out(received).subspan(i * sizeof(int), sizeof(int))));
          }
          return OkStatus();
        },
        seed);
    for (const Status& status : statuses) ASSERT_TRUE(status.ok()) << status.ToString();
    ASSERT_EQ(received, sent);
  }
}

TEST_F(PairTest, ReducesWhatItReceivesWithWhatIsThere) {
  const std::vector<float> sent = {1, 2, 3};
  const std::vector<float> local = {10, 20, 30};
  std::vector<float> sum(3);
  const auto statuses =
      Run([&](Endpoint& endpoint) { return endpoint.Send(1, In(sent)); },
          [&](Endpoint& endpoint) {
            return endpoint.RecvReduce(0, In(local), Out(sum), DType::kFloat32, Reduction::kSum);
          });
  EXPECT_TRUE(statuses[1].ok()) << statuses[1].ToString();
  EXPECT_EQ(sum, (std::vector<float>{11, 22, 33}));
}

TEST_F(PairTest, UnequalLengthsAreAnErrorThatNamesBoth) {
  const std::vector<float> sent(3);
  std::vector<float> received(4);
  const auto statuses = Run(
      [&](Endpoint& endpoint) -> Status {
        TP_RETURN_IF_ERROR(endpoint.Send(1, In(sent)));
        return endpoint.Flush();
      },
      [&](Endpoint& endpoint) { return endpoint.Recv(0, Out(received)); });
  EXPECT_EQ(statuses[1].ToString(),
            "INTERNAL: message 1 from rank 0 to rank 1 has 12 bytes, its receiver expects 16");
  EXPECT_EQ(statuses[0].code(), StatusCode::kAborted);
  EXPECT_THAT(statuses[0].message(), HasSubstr("rank 1 failed first: INTERNAL: message 1"));
}

TEST_F(PairTest, TwoThatOnlyReceiveAreReportedAsADeadlock) {
  std::vector<float> received(1);
  const auto statuses = Run([&](Endpoint& endpoint) { return endpoint.Recv(1, Out(received)); },
                            [&](Endpoint& endpoint) { return endpoint.Recv(0, Out(received)); });
  for (const Status& status : statuses) {
    EXPECT_THAT(status.message(), HasSubstr("rank 0 waits for rank 1: a message"));
    EXPECT_THAT(status.message(), HasSubstr("rank 1 waits for rank 0: a message"));
  }
}

TEST(FabricTest, JoinSaysWhatIsWrong) {
  const auto scheduler = MakeFreeScheduler({});
  Fabric fabric(*scheduler, 4);
  const auto error = [&](uint64_t id, const std::vector<int>& ranks, int rank) {
    const auto group = fabric.Join(id, ranks, rank);
    EXPECT_EQ(group.status().code(), StatusCode::kInvalidArgument);
    return group.status().message();
  };
  EXPECT_THAT(error(1, {}, 0), HasSubstr("different ranks of a world of 4"));
  EXPECT_THAT(error(1, {0, 4}, 0), HasSubstr("[0, 4]"));
  EXPECT_THAT(error(1, {-1, 0}, 0), HasSubstr("[-1, 0]"));
  EXPECT_THAT(error(1, {2, 0, 2}, 0), HasSubstr("[2, 0, 2]"));
  EXPECT_THAT(error(1, {1, 2}, 0), HasSubstr("which lacks it"));
  const auto group = fabric.Join(1, {3, 1}, 3);
  ASSERT_TRUE(group.ok());
  EXPECT_THAT(error(1, {1, 3}, 1), HasSubstr("another member says it has ranks [3, 1]"));
  EXPECT_THAT(error(1, {3, 1}, 3), HasSubstr("in it already"));
  fabric.Leave(**group, 3);
  EXPECT_TRUE(fabric.Join(1, {3, 1}, 3).ok());
}

TEST(ReduceTest, IsOneRoundingOfTheExactOperationForEveryTypeAndLength) {
  for (DType dtype : kAllDTypes) {
    for (Reduction reduction : {Reduction::kSum, Reduction::kMax, Reduction::kMin}) {
      for (int64_t count : {0, 1, 2, 7, 8, 31, 33, 64, 67}) {
        std::vector<double> x(count), y(count), expected(count), actual(count);
        for (int64_t i = 0; i < count; ++i) {
          x[i] = RoundTo(dtype, std::sin(1.0 + static_cast<double>(i)));
          y[i] = RoundTo(dtype, 3 * std::cos(5.0 * static_cast<double>(i)));
          // The sum in float is what bf16 and fp16 are defined to round; it is exact for fp64.
          const double sum = dtype == DType::kFloat64
                                 ? x[i] + y[i]
                                 : static_cast<float>(x[i]) + static_cast<float>(y[i]);
          expected[i] = reduction == Reduction::kSum   ? RoundTo(dtype, sum)
                        : reduction == Reduction::kMax ? std::max(x[i], y[i])
                                                       : std::min(x[i], y[i]);
        }
        Bytes a(count * SizeOf(dtype)), b(a.size()), c(a.size());
        EncodeFromDouble(dtype, x, a);
        EncodeFromDouble(dtype, y, b);
        const auto check = [&](const Bytes& result) {
          DecodeToDouble(dtype, result, actual);
          EXPECT_EQ(actual, expected) << Name(dtype) << " " << Name(reduction) << " " << count;
        };
        Reduce(dtype, reduction, a, b, c);
        check(c);
        c = a;
        Reduce(dtype, reduction, c, b, c);
        check(c);
        c = b;
        Reduce(dtype, reduction, a, c, c);
        check(c);
      }
    }
  }
}

TEST(ReduceTest, ANaNOnEitherSideStaysOne) {
  const std::vector<float> nan(5, std::numeric_limits<float>::quiet_NaN());
  const std::vector<float> one(5, 1);
  std::vector<float> result(5);
  for (Reduction reduction : {Reduction::kSum, Reduction::kMax, Reduction::kMin}) {
    Reduce(DType::kFloat32, reduction, In(nan), In(one), Out(result));
    for (float value : result) EXPECT_TRUE(std::isnan(value)) << Name(reduction);
    Reduce(DType::kFloat32, reduction, In(one), In(nan), Out(result));
    for (float value : result) EXPECT_TRUE(std::isnan(value)) << Name(reduction);
  }
}

}  // namespace
}  // namespace tp::sim
