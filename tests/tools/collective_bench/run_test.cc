// Collectives runs on the CPU backend: right results, planted faults, and what the report says.

#include "tools/collective_bench/run.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "backends/cpu/backend.h"
#include "tests/planted/faulty_endpoint.h"
#include "tools/collective_bench/print.h"

namespace tp::collective_bench {
namespace {

CollectiveOptions Options(std::vector<CollectiveKind> kinds, int tp, int dp = 1) {
  CollectiveOptions options;
  options.engine.tp = tp;
  options.engine.dp = dp;
  options.engine.steps = 2;
  options.engine.warmup = 1;
  options.kinds = std::move(kinds);
  options.min_bytes = 1000;
  options.max_bytes = 4000;
  options.per_step = 3;
  return options;
}

const std::vector<CollectiveKind> kAll = {CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                                          CollectiveKind::kReduceScatter,
                                          CollectiveKind::kBroadcast, CollectiveKind::kAllToAll};

// What all ranks together send, at the least (tp/core/collective.h); of an all_to_all each member
// sends all of its `bytes` but a block.
int64_t Moved(CollectiveKind kind, int64_t bytes, int tp, int dp) {
  return (kind == CollectiveKind::kAllReduce ? 2 : 1) * (tp - 1) * dp * bytes;
}

TEST(Collectives, EveryElementIsRightOnEveryMesh) {
  for (DType dtype : kAllDTypes) {
    for (const auto& [tp, dp] : {std::pair(2, 1), std::pair(3, 2), std::pair(8, 1)}) {
      CollectiveOptions options = Options(kAll, tp, dp);
      options.engine.dtype = dtype;
      const auto backend = cpu::MakeCpuBackend({});
      const StatusOr<CollectiveResult> result = RunCollectives(*backend, options);
      ASSERT_TRUE(result.ok()) << result.status().ToString();
      ASSERT_EQ(result->rows.size(), 10u);
      EXPECT_TRUE(result->ok());
      for (const Row& row : result->rows) {
        const CollectiveKind kind = row.which.kind;
        EXPECT_EQ(row.wrong, 0) << Name(kind);
        // Every rank's result in each of the three: a shard of reduce_scatter, else the whole.
        const int64_t ranks = kind == CollectiveKind::kReduceScatter ? dp : tp * dp;
        EXPECT_EQ(row.checked, 3 * ranks * row.which.elements) << Name(kind);
        EXPECT_EQ(row.moved_bytes, Moved(kind, row.which.bytes(), tp, dp)) << Name(kind);
        EXPECT_EQ(row.in_place, kind == CollectiveKind::kAllGather) << Name(kind);
        EXPECT_GT(row.time_us.min, 0) << Name(kind);
      }
    }
  }
}

// Member 0 adds one to each sum that it completes: with two members and the direct algorithm, those
// of its own half, which in an all_reduce the other one gets from it.
TEST(Collectives, WrongElementsAreCountedOneByOne) {
  cpu::CpuBackendOptions faulty;
  faulty.all_reduce = sim::Algorithm::kDirect;
  faulty.wrap_endpoint =
      planted::CombineBy([](double local, double received) { return local + received + 1; },
                         [](int member, int, int) { return member == 0; });
  const auto backend = cpu::MakeCpuBackend(faulty);
  CollectiveOptions options = Options(kAll, 2);
  options.max_bytes = options.min_bytes;
  const StatusOr<CollectiveResult> result = RunCollectives(*backend, options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_FALSE(result->ok());
  for (const Row& row : result->rows) {
    const int64_t half = 3 * row.which.elements / 2;
    const int64_t wrong = row.which.kind == CollectiveKind::kAllReduce       ? 2 * half
                          : row.which.kind == CollectiveKind::kReduceScatter ? half
                                                                             : 0;
    EXPECT_EQ(row.wrong, wrong) << Name(row.which.kind);
    EXPECT_EQ(row.ok(), wrong == 0) << Name(row.which.kind);
  }
  EXPECT_NE(Render(options, *result).find("Verdict: 1125 of"), std::string::npos)
      << Render(options, *result);
  EXPECT_FALSE(nlohmann::json::parse(ToJson(options, *result)).at("ok").get<bool>());
}

TEST(Collectives, BandwidthsAreThoseOfNcclTests) {
  const auto backend = cpu::MakeCpuBackend({});
  const CollectiveOptions options = Options(kAll, 4);
  const StatusOr<CollectiveResult> result = RunCollectives(*backend, options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  const nlohmann::json json = nlohmann::json::parse(ToJson(options, *result));
  for (const nlohmann::json& row : json.at("results")) {
    const std::string kind = row.at("collective");
    const double seconds = row.at("time_us").at("median").get<double>() / 1e6;
    const double algbw = row.at("bytes").get<double>() / seconds / 1e9;
    const double factor = kind == "all_reduce" ? 1.5 : kind == "broadcast" ? 1 : 0.75;
    EXPECT_DOUBLE_EQ(row.at("algbw_gbps").get<double>(), algbw) << kind;
    EXPECT_DOUBLE_EQ(row.at("busbw_gbps").get<double>(), algbw * factor) << kind;
  }
}

TEST(Collectives, AStepHasEnoughOfThem) {
  CollectiveOptions options;
  EXPECT_EQ(options.PerStep(1024), 20);
  EXPECT_EQ(options.PerStep(4 << 20), 3);
  options.per_step = 7;
  EXPECT_EQ(options.PerStep(1024), 7);
  options.min_bytes = 10;
  options.max_bytes = 100;
  options.factor = 3;
  EXPECT_EQ(options.Sizes(), (std::vector<int64_t>{10, 30, 90}));
}

}  // namespace
}  // namespace tp::collective_bench
