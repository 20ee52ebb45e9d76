// Both ways for ranks to meet, held to the same contract; ranks are threads here.
#include "backends/nccl/control/control.h"

#include <fmt/format.h>
#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "backends/nccl/control/local_control.h"
#include "backends/nccl/control/tcp_control.h"
#include "backends/nccl/control/tcp_socket.h"
#include "backends/nccl/control/wait.h"
#include "tests/backends/nccl/free_port.h"

namespace tp::nccl {
namespace {

constexpr std::chrono::milliseconds kLong(30000);
constexpr std::chrono::milliseconds kShort(200);

std::vector<std::unique_ptr<Control>> MakeTcpControls(int world) {
  const int port = FreePort();
  std::vector<std::unique_ptr<Control>> controls(world);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      auto control = ConnectTcpControl({rank, world, "127.0.0.1", port, kLong});
      CHECK(control.ok()) << control.status().ToString();
      controls[rank] = *std::move(control);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return controls;
}

using Make = std::vector<std::unique_ptr<Control>> (*)(int world);

class ControlTest : public testing::TestWithParam<Make> {
 protected:
  void OnEachRank(int world, const std::function<void(int, std::unique_ptr<Control>)>& body) {
    std::vector<std::unique_ptr<Control>> controls = GetParam()(world);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < world; ++rank) {
      threads.emplace_back([&, rank] { body(rank, std::move(controls[rank])); });
    }
    for (std::thread& thread : threads) thread.join();
  }
};

TEST_P(ControlTest, GathersInRankOrderRoundAfterRound) {
  constexpr int kWorld = 5;
  OnEachRank(kWorld, [&](int rank, std::unique_ptr<Control> control) {
    EXPECT_EQ(control->rank(), rank);
    EXPECT_EQ(control->world(), kWorld);
    for (int round = 0; round < 50; ++round) {
      const bool everyone = round % 3 != 0;
      // Of all lengths, none included, and with zero bytes in them.
      const auto part = [&](int r) { return std::string((r * 7 + round) % 11, char(r)); };
      const auto all =
          control->Gather(part(rank), everyone ? Receivers::kEveryone : Receivers::kRoot, kLong);
      ASSERT_TRUE(all.ok()) << all.status().ToString();
      if (!everyone && rank != 0) {
        EXPECT_TRUE(all->empty());
        continue;
      }
      ASSERT_EQ(all->size(), size_t{kWorld});
      for (int r = 0; r < kWorld; ++r) EXPECT_EQ((*all)[r], part(r)) << round;
    }
  });
}

TEST_P(ControlTest, CarriesManyBytes) {
  OnEachRank(3, [&](int rank, std::unique_ptr<Control> control) {
    const auto all =
        control->Gather(std::string(20'000'000 + rank, 'a' + rank), Receivers::kRoot, kLong);
    ASSERT_TRUE(all.ok()) << all.status().ToString();
    if (rank == 0) {
      EXPECT_EQ((*all)[2], std::string(20'000'002, 'c'));
    }
    // Nobody leaves while rank 0 still reads.
    EXPECT_TRUE(control->Gather("", Receivers::kEveryone, kLong).ok());
  });
}

TEST_P(ControlTest, EveryoneHearsOfTheFirstFailure) {
  OnEachRank(4, [&](int rank, std::unique_ptr<Control> control) {
    if (rank == 2) control->Fail(InvalidArgument("a bad day"));
    // The others are waiting, or come later.
    const Status status = control->Gather("", Receivers::kEveryone, kLong).status();
    EXPECT_EQ(status.code(), rank == 2 ? StatusCode::kInvalidArgument : StatusCode::kAborted);
    EXPECT_THAT(status.message(), testing::HasSubstr("rank 2"));
    EXPECT_THAT(status.message(), testing::HasSubstr("a bad day"));
    EXPECT_EQ(control->NamedFailure().ToString(), "INVALID_ARGUMENT: rank 2: a bad day");
    EXPECT_EQ(control->Failure().code(), status.code());
  });
}

TEST_P(ControlTest, TheDeadlineNamesWhoIsMissing) {
  std::vector<std::unique_ptr<Control>> controls = GetParam()(3);
  std::thread other([&] {
    [[maybe_unused]] const auto gathered = controls[2]->Gather("", Receivers::kRoot, kShort);
  });
  const Status status = controls[0]->Gather("", Receivers::kRoot, kShort).status();
  other.join();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), testing::HasSubstr("rank(s) 1 to come"));
}

TEST_P(ControlTest, WhoHasBegunFewerStepsIsLate) {
  std::vector<std::unique_ptr<Control>> controls = GetParam()(4);
  const auto ask = [&] {  // all at the same time
    std::vector<std::string> said(4);
    std::vector<std::thread> threads;
    for (int rank : {0, 1, 2, 3}) {
      threads.emplace_back([&, rank] { said[rank] = controls[rank]->WhoIsLate(); });
    }
    for (std::thread& thread : threads) thread.join();
    return said;
  };
  for (int step = 1; step <= 50; ++step) {  // no answer is to an earlier question
    for (int rank : {0, 2}) controls[rank]->BeginStep();
    EXPECT_THAT(ask(), testing::Each(fmt::format(
                           "ranks 1, 3 have begun {} step{}, where others have begun {}", step - 1,
                           step == 2 ? "" : "s", step)));
    for (int rank : {3, 1}) controls[rank]->BeginStep();
    EXPECT_THAT(ask(), testing::Each(""));
  }
}

INSTANTIATE_TEST_SUITE_P(Local, ControlTest, testing::Values(&MakeLocalControls));
INSTANTIATE_TEST_SUITE_P(Tcp, ControlTest, testing::Values(&MakeTcpControls));

// Nobody waits out a deadline for a process that has ended in good order.
TEST(TcpControl, NamesARankThatLeft) {
  std::vector<std::unique_ptr<Control>> controls = MakeTcpControls(2);
  std::thread other([&] {
    const Status status = controls[1]->Gather("", Receivers::kEveryone, kLong).status();
    EXPECT_EQ(status.ToString(), "ABORTED: rank 0 ended while rank 1 waited for it");
  });
  controls[0].reset();
  other.join();
}

TEST(TcpControl, SaysOfALateRankThatItEnded) {
  for (int ended : {1, 0}) {
    std::vector<std::unique_ptr<Control>> controls = MakeTcpControls(3);
    controls[ended].reset();
    for (int rank : {2, 1 - ended}) {
      const Status status = WaitUntil(*controls[rank], kShort, "it", [] { return false; });
      EXPECT_EQ(status.ToString(), "DEADLINE_EXCEEDED: it did not end in 200 ms; rank " +
                                       std::to_string(ended) + " has ended");
    }
  }
}

// A process that dies says nothing: its connection just closes.
TEST(TcpControl, NamesARankThatDied) {
  const int port = FreePort();
  const auto until = std::chrono::steady_clock::now() + kLong;
  std::unique_ptr<Control> survivors[2];
  std::thread root([&] {
    auto control = ConnectTcpControl({0, 3, "127.0.0.1", port, kLong});
    CHECK(control.ok()) << control.status().ToString();
    survivors[0] = *std::move(control);
  });
  std::thread other([&] {
    auto control = ConnectTcpControl({2, 3, "127.0.0.1", port, kLong});
    CHECK(control.ok()) << control.status().ToString();
    survivors[1] = *std::move(control);
  });
  auto dying = TcpConnect("127.0.0.1", port, until);
  ASSERT_TRUE(dying.ok()) << dying.status().ToString();
  ASSERT_TRUE((*dying)->Send({MessageType::kHello, 1, "3"}).ok());
  root.join();
  other.join();
  dying->reset();
  for (const auto& control : survivors) {
    const Status status = control->Gather("", Receivers::kEveryone, kLong).status();
    EXPECT_EQ(status.code(), StatusCode::kAborted);
    EXPECT_THAT(status.message(), testing::HasSubstr("rank 1 failed first"));
  }
}

// Of a process that is stopped the connection stays. Rank `silent` says hello and no more.
TEST(TcpControl, NamesARankThatDoesNotAnswer) {
  for (int silent : {1, 0}) {
    const int port = FreePort();
    const auto until = std::chrono::steady_clock::now() + kLong;
    std::unique_ptr<Control> controls[3];
    std::vector<std::unique_ptr<TcpConnection>> mute;
    std::vector<std::thread> threads;
    if (silent == 0) {
      threads.emplace_back([&] {
        const auto listener = TcpListener::Listen(port);
        CHECK(listener.ok()) << listener.status().ToString();
        for (int i = 0; i < 2; ++i) mute.push_back((*listener)->Accept(until));
      });
    }
    for (int rank : {0, 1, 2}) {
      if (rank == silent) continue;
      threads.emplace_back([&, rank] {
        auto control = ConnectTcpControl({rank, 3, "127.0.0.1", port, kLong});
        CHECK(control.ok()) << control.status().ToString();
        controls[rank] = *std::move(control);
      });
    }
    if (silent != 0) {
      auto connection = TcpConnect("127.0.0.1", port, until);
      ASSERT_TRUE(connection.ok()) << connection.status().ToString();
      mute.push_back(*std::move(connection));
      ASSERT_TRUE(mute[0]->Send({MessageType::kHello, silent, "3"}).ok());
    }
    for (std::thread& thread : threads) thread.join();
    for (int rank : {2, silent == 0 ? 1 : 0}) {
      const Status status = WaitUntil(*controls[rank], kShort, "it", [] { return false; });
      EXPECT_EQ(status.ToString(), "DEADLINE_EXCEEDED: it did not end in 200 ms; rank " +
                                       std::to_string(silent) +
                                       " does not answer: stopped, or its machine is gone");
    }
    for (const auto& connection : mute) connection->Shutdown();
  }
}

TEST(TcpControl, AStrangerIsIgnored) {
  const int port = FreePort();
  const auto until = std::chrono::steady_clock::now() + kLong;
  StatusOr<std::unique_ptr<Control>> root = Internal("not connected");
  std::thread thread([&] { root = ConnectTcpControl({0, 2, "127.0.0.1", port, kLong}); });
  const auto stranger = TcpConnect("127.0.0.1", port, until);
  ASSERT_TRUE(stranger.ok());
  (*stranger)->Shutdown();
  const auto control = ConnectTcpControl({1, 2, "127.0.0.1", port, kLong});
  thread.join();
  EXPECT_TRUE(control.ok() && root.ok()) << root.status().ToString();
}

TEST(TcpControl, AnotherWorldIsAnError) {
  const int port = FreePort();
  StatusOr<std::unique_ptr<Control>> root = Internal("not connected");
  std::thread thread([&] { root = ConnectTcpControl({0, 3, "127.0.0.1", port, kLong}); });
  const auto control = ConnectTcpControl({1, 2, "127.0.0.1", port, kLong});
  thread.join();
  EXPECT_THAT(root.status().message(), testing::HasSubstr("came as rank 1 of 2"));
}

TEST(TcpControl, NobodyComes) {
  const auto root = ConnectTcpControl({0, 3, "127.0.0.1", FreePort(), kShort});
  EXPECT_EQ(root.status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(root.status().message(), testing::HasSubstr("rank(s) 1 2"));
  const auto other = ConnectTcpControl({1, 3, "127.0.0.1", FreePort(), kShort});
  EXPECT_EQ(other.status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(other.status().message(), testing::HasSubstr("rank 0 does not listen"));
}

}  // namespace
}  // namespace tp::nccl
