// Random Programs on GPUs, held op by op: none of their values is called wrong. Worlds of more
// ranks than there are GPUs share them.
#include <fmt/format.h>
#include <glog/logging.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/nccl/backend.h"
#include "backends/nccl/functions.h"
#include "tests/backends/nccl/gpus.h"
#include "tests/backends/nccl/workers.h"
#include "tests/verify/random_alarm.h"
#include "tp/verify/bounds.h"

namespace tp::nccl {
namespace {

std::unique_ptr<Backend> DrawBackend(SumOrder order) {
  Options options;
  options.graph = *rc::gen::arbitrary<bool>();
  options.gemm_search = false;  // what a search finds may differ from run to run
  options.share_gpus = true;
  options.peers = *rc::gen::element(Peers::kAuto, Peers::kBulk);
  const bool parts = order == SumOrder::kFast && *rc::gen::arbitrary<bool>();
  options.lower.sum_part_bytes = parts ? 1 : 0;
  RC_LOG() << (options.graph ? "a graph" : "op by op")
           << (options.peers == Peers::kBulk ? ", by copies" : "")
           << (parts ? ", sums in parts\n" : "\n");
  auto backend = MakeBackend(options);
  CHECK(backend.ok()) << backend.status().ToString();
  return *std::move(backend);
}

verify::Arithmetic ArithmeticOf(DType dtype, SumOrder) {
  verify::Arithmetic arithmetic{.functions = ErrorsOfFunctions()};
  if (dtype == DType::kBFloat16 || dtype == DType::kFloat16) {
    arithmetic.product_roundoff = verify::kTensorCoreRoundoff;
    arithmetic.probabilistic = false;
  }
  return arithmetic;
}

constexpr char kMesh[] = "TP_TEST_MESH";

class GpuPrograms : public testing::TestWithParam<std::pair<int, int>> {};

// With two GPUs no more than two ranks share one.
INSTANTIATE_TEST_SUITE_P(Meshes, GpuPrograms,
                         testing::Values(std::pair(1, 1), std::pair(2, 1), std::pair(3, 1),
                                         std::pair(1, 2), std::pair(2, 2)),
                         [](const auto& mesh) {
                           return fmt::format("tp{}_dp{}", mesh.param.first, mesh.param.second);
                         });

// Ranks that share a GPU launch kernels that others have not launched yet.
TEST_P(GpuPrograms, RaiseNoAlarm) {
  ASSERT_GE(CountGpus(), 1);
  const auto [tp, dp] = GetParam();
  ExpectToHaveSaid(RunAlone("GpuWorker.DISABLED_RunsRandomPrograms",
                            {fmt::format("{}={} {}", kMesh, tp, dp), "CUDA_MODULE_LOADING=EAGER"}),
                   "OK, passed");
}

// The rest is run by the test above only.
TEST(GpuWorker, DISABLED_RunsRandomPrograms) {
  const char* mesh = std::getenv(kMesh);
  ASSERT_NE(mesh, nullptr);
  int tp = 0, dp = 0;
  ASSERT_EQ(std::sscanf(mesh, "%d %d", &tp, &dp), 2) << mesh;
  setenv("RC_PARAMS", "seed=1 max_success=10 noshrink=1", /*overwrite=*/0);
  EXPECT_TRUE(rc::check("random Programs raise no alarm", [=] {
    // A loss of tensors that are no matrices.
    const std::vector<std::string> refusals = {"in the invariant order it takes matrices"};
    verify::ExpectNoAlarm({DrawBackend, ArithmeticOf, refusals}, Mesh::Create(tp, dp).value());
  }));
}

}  // namespace
}  // namespace tp::nccl
