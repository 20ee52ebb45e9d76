// The GPU backend, on as many GPUs as two ranks need: the suites, and against the CPU backend.
#include <glog/logging.h>

#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/nccl/backend.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/linear_run.h"
#include "tp/verify/compare.h"

namespace tp::conformance {
namespace {

MakeBackend Make(bool graph, int64_t sum_part_bytes) {
  return [=] {
    nccl::Options options;
    options.graph = graph;
    options.gemm_search = false;  // what a search finds may differ from run to run
    options.lower.sum_part_bytes = sum_part_bytes;
    auto backend = nccl::MakeBackend(options);
    CHECK(backend.ok()) << backend.status().ToString();
    return *std::move(backend);
  };
}

// As one CUDA graph; launched op by op it must give the same bits.
Subject Graph() {
  return {"gpu",
          Make(true, 0),
          /*max_world=*/2,
          {std::begin(kAllDTypes), std::end(kAllDTypes)},
          {Make(false, 0)}};
}

// Sums cut into as many parts as there may be.
Subject Parts() {
  return {"gpu_parts", Make(true, 1), /*max_world=*/2, {DType::kFloat32, DType::kBFloat16}, {}};
}

INSTANTIATE_TEST_SUITE_P(Gpu, LinearStepTest, testing::ValuesIn(AllParams(Graph())), ParamName);
INSTANTIATE_TEST_SUITE_P(GpuParts, LinearStepTest, testing::ValuesIn(AllParams(Parts())),
                         ParamName);
INSTANTIATE_TEST_SUITE_P(Gpu, RedistributeTest,
                         testing::ValuesIn(ParamsOf(Graph(), DType::kFloat32)), ParamName);

// From the same seed both begin with the same bits and stay within the sum of their bounds.
TEST(GpuConformance, AgreesWithTheCpu) {
  for (const auto& [tp, dp] : {std::pair(2, 1), std::pair(1, 2)}) {
    const Mesh mesh = *Mesh::Create(tp, dp);
    for (DType dtype : kAllDTypes) {
      const verify::LinearProblem problem = RandomProblem(kLarger, dtype, /*steps=*/3, /*seed=*/9);
      for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
        const auto on_cpu = RunLinear(*cpu::MakeCpuBackend({}), mesh, problem, mode);
        const auto on_gpu = RunLinear(*Make(true, 0)(), mesh, problem, mode);
        ASSERT_TRUE(on_cpu.ok() && on_gpu.ok()) << on_gpu.status().ToString();
        const auto report = verify::CompareRuns(
            problem, {"cpu", &on_cpu->observed, ModelOf(problem, mode, mesh)},
            {"gpu", &on_gpu->observed, ModelOf(problem, mode, mesh)}, {.full = true});
        ASSERT_TRUE(report.ok()) << report.status().ToString();
        EXPECT_TRUE(report->ok) << verify::ToString(*report);
      }
    }
  }
}

}  // namespace
}  // namespace tp::conformance
