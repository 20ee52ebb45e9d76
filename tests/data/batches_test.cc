#include "tp/data/batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace tp {
namespace {

std::vector<int64_t> Begins(const BatchOrder& order, int64_t from, int64_t count) {
  std::vector<int64_t> begins;
  for (int64_t i = from; i < from + count; ++i) begins.push_back(order.Begin(i));
  return begins;
}

// Windows of an epoch lie side by side: each token is in one of them, but for the ends.
TEST(BatchOrder, AnEpochTakesEachWindowOnce) {
  for (int64_t sequence : {1, 3, 8}) {
    for (int64_t tokens = sequence + 1; tokens < 100; ++tokens) {
      const BatchOrder order = BatchOrder::Create(tokens, sequence, 7).value();
      ASSERT_GT((order.windows() + 2) * sequence, tokens - 1);
      for (int64_t epoch : {0, 1, 5}) {
        std::vector<int64_t> begins = Begins(order, epoch * order.windows(), order.windows());
        std::sort(begins.begin(), begins.end());
        EXPECT_GE(begins.front(), 0);
        EXPECT_LE(begins.back() + sequence + 1, tokens);
        for (size_t i = 1; i < begins.size(); ++i) ASSERT_EQ(begins[i], begins[i - 1] + sequence);
      }
    }
  }
}

TEST(BatchOrder, IsAFunctionOfSeedAndPlace) {
  const BatchOrder order = BatchOrder::Create(100'000, 16, 1).value();
  const BatchOrder again = BatchOrder::Create(100'000, 16, 1).value();
  const BatchOrder other = BatchOrder::Create(100'000, 16, 2).value();
  EXPECT_EQ(Begins(order, 9000, 500), Begins(again, 9000, 500));
  EXPECT_NE(Begins(order, 9000, 500), Begins(other, 9000, 500));
}

// Each epoch has an order and cuts of its own.
TEST(BatchOrder, EpochsDiffer) {
  const BatchOrder order = BatchOrder::Create(10'000, 16, 1).value();
  std::set<int64_t> cuts;
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    std::vector<int64_t> begins = Begins(order, epoch * order.windows(), order.windows());
    const int64_t cut = *std::min_element(begins.begin(), begins.end());
    for (int64_t& begin : begins) begin -= cut;
    cuts.insert(cut);
    orders.insert(begins);
  }
  EXPECT_EQ(orders.size(), 20u);
  EXPECT_GT(cuts.size(), 10u);
}

// Neighbours in the order are no neighbours in the text, and no place is favoured: the mean place
// of each tenth of an epoch is near the middle. Of n numbers drawn from [0, 1) the mean is off by
// more than 5 / sqrt(12 n) once in millions.
TEST(BatchOrder, Shuffles) {
  const BatchOrder order = BatchOrder::Create(1'000'001, 10, 3).value();
  const int64_t n = order.windows() / 10;
  int64_t neighbours = 0;
  for (int64_t tenth = 0; tenth < 10; ++tenth) {
    const std::vector<int64_t> begins = Begins(order, tenth * n, n);
    double sum = 0;
    for (size_t i = 0; i < begins.size(); ++i) {
      sum += static_cast<double>(begins[i]) / 1e6;
      neighbours += i > 0 && begins[i] == begins[i - 1] + 10;
    }
    EXPECT_NEAR(sum / static_cast<double>(n), 0.5, 5 / std::sqrt(12.0 * static_cast<double>(n)));
  }
  EXPECT_LT(neighbours, 20);  // one is expected
}

TEST(BatchOrder, RefusesATextWithoutOneWindow) {
  EXPECT_EQ(
      BatchOrder::Create(8, 8, 0).status().message(),
      "a text of 8 tokens has no sequence of 8 and the token behind it: take a longer text, or "
      "shorter sequences");
  EXPECT_EQ(BatchOrder::Create(9, 8, 0)->Begin(123), 0);
}

}  // namespace
}  // namespace tp
