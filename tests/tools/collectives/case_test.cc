// What a collectives case is fed, what it must give, and how wrong elements are counted.

#include "tools/collectives/case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace tp::collective_bench {
namespace {

constexpr CollectiveKind kKinds[] = {CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                                     CollectiveKind::kReduceScatter, CollectiveKind::kBroadcast,
                                     CollectiveKind::kAllToAll};

Case Small(CollectiveKind kind, int members, DType dtype = DType::kFloat32, int per_step = 2) {
  return MakeCase(kind, dtype, members, 64 * SizeOf(dtype), per_step);
}

// A part in the middle of a wider matrix, column by column in memory.
Binding StridedPart() {
  Binding binding;
  binding.name = "out0";
  binding.shape = {6, 10};
  binding.view = MatrixView(/*buffer=*/0, /*offset=*/3, /*rows=*/2, /*columns=*/4,
                            /*row_stride=*/1, /*column_stride=*/5);
  binding.origin = {4, 6};
  return binding;
}

void Put(std::vector<std::byte>& buffer, int64_t at, float value) {
  const double wide = value;
  EncodeFromDouble(DType::kFloat32, std::span(&wide, 1), std::span(buffer).subspan(at * 4, 4));
}

TEST(CountWrong, CountsEachWrongElementOfThePartAndNoOther) {
  const Binding binding = StridedPart();
  const auto expected = [](int64_t index) { return static_cast<double>(index); };
  std::vector<std::byte> buffer(64 * 4, std::byte{0xff});  // NaN around the part
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 4; ++j) {
      Put(buffer, 3 + i + 5 * j, static_cast<float>((4 + i) * 10 + 6 + j));
    }
  }
  EXPECT_EQ(CountWrong(binding, buffer, expected), 0);
  Put(buffer, 3, 47);
  EXPECT_EQ(CountWrong(binding, buffer, expected), 1);
  Put(buffer, 3 + 1 + 15, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(CountWrong(binding, buffer, expected), 2);
  Put(buffer, 3 + 1, std::nextafterf(56, 57));
  EXPECT_EQ(CountWrong(binding, buffer, expected), 3);
  EXPECT_EQ(CountWrong(binding, std::vector<std::byte>(64 * 4, std::byte{0xff}), expected), 8);
}

TEST(Case, HasNcclTestsSizes) {
  // bytes asked, then elements and count, of 4 members and fp32.
  const struct {
    CollectiveKind kind;
    int64_t elements;
    int64_t count;
  } sizes[] = {{CollectiveKind::kAllReduce, 250, 250},
               {CollectiveKind::kBroadcast, 250, 250},
               {CollectiveKind::kAllGather, 248, 62},
               {CollectiveKind::kReduceScatter, 248, 62},
               {CollectiveKind::kAllToAll, 248, 62}};
  for (const auto& size : sizes) {
    const Case c = MakeCase(size.kind, DType::kFloat32, 4, 1001, 1);
    EXPECT_EQ(c.elements, size.elements) << Name(size.kind);
    EXPECT_EQ(c.count(), size.count) << Name(size.kind);
    EXPECT_EQ(c.bytes(), size.elements * 4) << Name(size.kind);
  }
}

TEST(Case, LowersToSoManyCallsOfItsKind) {
  for (CollectiveKind kind : kKinds) {
    const Case c = Small(kind, 4, DType::kFloat32, 3);
    const Schedule schedule = MakeSchedule(c, Mesh::Create(4, 1).value(), 1).value();
    int calls = 0;
    for (const ScheduledOp& op : schedule.ops) {
      if (op.action != Action::kCollective) continue;
      EXPECT_EQ(op.call.kind, kind);
      // nccl-tests' size of an all_to_all is what one member sends.
      const int64_t senders = kind == CollectiveKind::kAllToAll ? 4 : 1;
      EXPECT_EQ(TotalElements(op.call), c.elements * senders) << Name(kind);
      ++calls;
    }
    EXPECT_EQ(calls, 3) << Name(kind);
  }
}

TEST(Case, OnlyAllToAllComputesAnything) {
  for (CollectiveKind kind : kKinds) {
    const Schedule schedule = MakeSchedule(Small(kind, 4), Mesh::Create(4, 1).value(), 1).value();
    const bool computes =
        std::any_of(schedule.ops.begin(), schedule.ops.end(),
                    [](const ScheduledOp& op) { return op.action != Action::kCollective; });
    EXPECT_EQ(computes, kind == CollectiveKind::kAllToAll) << Name(kind);
  }
}

TEST(Case, SumsAreExactInEveryTypeAndOrder) {
  for (DType dtype : kAllDTypes) {
    for (int members : {2, 8, 17, 100, 256}) {
      const Case c = Small(CollectiveKind::kAllReduce, members, dtype);
      double magnitudes = 0;  // of the largest shares: no partial sum is larger
      for (int member = 0; member < members; ++member) {
        double largest = 0;
        for (int64_t i = 0; i < c.elements; ++i) {
          const double fed = Fed(c, 0, member, i);
          EXPECT_EQ(fed, std::round(fed));
          largest = std::max(largest, std::abs(fed));
        }
        magnitudes += largest;
      }
      EXPECT_GT(magnitudes, 0);
      EXPECT_LE(magnitudes, 1 / UnitRoundoff(dtype)) << Name(dtype) << " " << members;
    }
  }
}

// A wrong block, share, neighbour or collective must not be right by chance.
TEST(Case, ElementsDifferWhereTheyCouldBeMixedUp) {
  const Case c = Small(CollectiveKind::kAllReduce, 4);
  std::set<std::vector<double>> seen;
  for (int nth = 0; nth < 2; ++nth) {
    for (int member = 0; member < 4; ++member) {
      for (int64_t block = 0; block < 4; ++block) {
        std::vector<double> values;
        for (int64_t i = 0; i < 16; ++i) values.push_back(Fed(c, nth, member, block * 16 + i));
        EXPECT_TRUE(seen.insert(values).second) << nth << " " << member << " " << block;
      }
    }
  }
}

TEST(Case, ExpectsASumOrACopy) {
  for (CollectiveKind kind : kKinds) {
    const Case c = Small(kind, 3);
    const bool sums = kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kReduceScatter;
    for (int64_t i = 0; i < c.elements; ++i) {
      const double first = Fed(c, 1, 0, i);
      const double sum = first + Fed(c, 1, 1, i) + Fed(c, 1, 2, i);
      EXPECT_EQ(Expected(c, 1, i), sums ? sum : first) << Name(kind) << " " << i;
    }
  }
}

}  // namespace
}  // namespace tp::collective_bench
