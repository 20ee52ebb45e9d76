// The GPU backend: the suites, and against the CPU backend. All of the suites where two ranks have
// a GPU each; of larger worlds, whose ranks share GPUs where there are too few, those below.
#include <fmt/format.h>
#include <glog/logging.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/cpu/blocked_gemm.h"
#include "backends/nccl/backend.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/linear_run.h"
#include "tp/observe/step_report.h"
#include "tp/verify/compare.h"

namespace tp::conformance {
namespace {

MakeBackend Make(bool graph, int64_t sum_part_bytes, bool tensor_cores = true) {
  return [=] {
    nccl::Options options;
    options.graph = graph;
    options.gemm_search = false;  // what a search finds may differ from run to run
    options.lower.sum_part_bytes = sum_part_bytes;
    options.share_gpus = true;
    options.tensor_cores = tensor_cores;
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

std::vector<Param> OfWorlds(const Subject& subject, const std::vector<DType>& dtypes,
                            const std::vector<std::pair<int, int>>& worlds) {
  std::vector<Param> params;
  int world = 0;
  for (const auto& [tp, dp] : worlds) {
    int turn = world++;
    for (DType dtype : dtypes) params.push_back({subject, tp, dp, dtype, turn++});
  }
  return params;
}

INSTANTIATE_TEST_SUITE_P(Gpu, LinearStepTest, testing::ValuesIn(AllParams(Graph())), ParamName);
INSTANTIATE_TEST_SUITE_P(GpuParts, LinearStepTest, testing::ValuesIn(AllParams(Parts())),
                         ParamName);
INSTANTIATE_TEST_SUITE_P(Gpu, RedistributeTest,
                         testing::ValuesIn(ParamsOf(Graph(), DType::kFloat32)), ParamName);

INSTANTIATE_TEST_SUITE_P(
    GpuWorlds, LinearStepTest,
    testing::ValuesIn(OfWorlds(Graph(), {DType::kFloat32, DType::kBFloat16},
                               {{3, 1}, {4, 1}, {8, 1}, {1, 3}, {2, 2}, {4, 2}})),
    ParamName);
INSTANTIATE_TEST_SUITE_P(GpuPartsWorlds, LinearStepTest,
                         testing::ValuesIn(OfWorlds(Parts(), {DType::kFloat32},
                                                    {{3, 1}, {4, 1}, {2, 2}})),
                         ParamName);
INSTANTIATE_TEST_SUITE_P(GpuWorlds, RedistributeTest,
                         testing::ValuesIn(OfWorlds(Graph(), {DType::kFloat32},
                                                    {{3, 1}, {2, 2}, {8, 1}})),
                         ParamName);

// From the same seed both begin with the same bits and stay within the sum of their bounds.
TEST(GpuConformance, AgreesWithTheCpu) {
  for (const auto& [tp, dp] : {std::pair(2, 1), std::pair(1, 2), std::pair(3, 1), std::pair(4, 1),
                               std::pair(8, 1), std::pair(2, 2)}) {
    const Mesh mesh = *Mesh::Create(tp, dp);
    for (DType dtype : kAllDTypes) {
      const verify::LinearProblem problem = RandomProblem(kLarger, dtype, /*steps=*/3, /*seed=*/9);
      for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
        const auto on_cpu = RunLinear(*cpu::MakeCpuBackend({}), mesh, problem, mode);
        const auto on_gpu = RunLinear(*Make(true, 0)(), mesh, problem, mode);
        ASSERT_TRUE(on_cpu.ok() && on_gpu.ok()) << on_gpu.status().ToString();
        const auto report = verify::CompareRuns(
            problem, {"cpu", &on_cpu->observed, ModelOf(problem, mode, mesh)},
            {"gpu", &on_gpu->observed, ModelOf(problem, mode, mesh)}, {.sample = {.full = true}});
        ASSERT_TRUE(report.ok()) << report.status().ToString();
        EXPECT_TRUE(report->ok()) << verify::ToString(*report);
      }
    }
  }
}

constexpr LinearMode kModes[] = {LinearMode::kRow, LinearMode::kColumn};

LinearRun RunInvariant(Backend& backend, const Mesh& mesh, const verify::LinearProblem& problem,
                       LinearMode mode, bool optimize = true) {
  StatusOr<LinearRun> run = RunLinear(backend, mesh, problem, mode, optimize, SumOrder::kInvariant);
  if (!run.ok()) {
    throw std::runtime_error(fmt::format(
        "{}: {}, {}x{}x{}, {}, tp {}, dp {}", run.status().ToString(), Name(problem.x.dtype()),
        problem.tokens(), problem.in_features(), problem.out_features(), Name(mode),
        mesh.Size(Axis::kTp), mesh.Size(Axis::kDp)));
  }
  EXPECT_EQ(run->result.replica_defects, std::vector<std::string>());
  const StatusOr<StepReport> report = MakeStepReport(run->program, mesh, run->result.ranks);
  if (!report.ok()) throw std::runtime_error(report.status().ToString());
  EXPECT_TRUE(report->bytes_ok);
  return *std::move(run);
}

// Whose lines are whole packs of 16 bytes, at tp 1, 2, 4 and 8 also where they are cut.
constexpr LinearShape kEven = {64, 1024, 192};

// At tp 3 and 6 a rank holds several nodes of the tree.
TEST(GpuConformance, InvariantSumsGiveTheSameBitsForEveryTp) {
  const std::unique_ptr<Backend> backend = Make(true, 0)();
  for (DType dtype : kAllDTypes) {
    for (const LinearShape& shape : {kUneven, kTiny, kLarger, kEven}) {
      const verify::LinearProblem problem = RandomProblem(shape, dtype, /*steps=*/3, /*seed=*/13);
      const LinearRun alone = RunInvariant(*backend, *Mesh::Create(1, 1), problem, kModes[0]);
      for (LinearMode mode : kModes) {
        for (int tp : {1, 2, 3, 4, 6, 8}) {
          SCOPED_TRACE(ToString(shape) + " " + std::string(Name(dtype)) + " " +
                       std::string(Name(mode)) + " tp " + std::to_string(tp));
          const Mesh mesh = *Mesh::Create(tp, 1);
          EXPECT_EQ(DifferentBits(alone, RunInvariant(*backend, mesh, problem, mode)), "");
          EXPECT_EQ(DifferentBits(alone, RunInvariant(*backend, mesh, problem, mode, false)), "")
              << "without the passes";
          EXPECT_EQ(DifferentBits(alone, RunInvariant(*Make(false, 0)(), mesh, problem, mode)), "")
              << "op by op";
        }
        for (const auto& [tp, dp] : {std::pair(1, 2), std::pair(2, 2), std::pair(4, 2)}) {
          LinearRun over_dp = RunInvariant(*backend, *Mesh::Create(tp, dp), problem, mode);
          over_dp.observed.losses = alone.observed.losses;  // replicas' losses are added at the end
          EXPECT_EQ(DifferentBits(alone, over_dp), "") << "tp " << tp << " dp " << dp;
        }
      }
    }
  }
}

// Whether the CPU backend's blocked products fuse multiplication and addition: a build for any
// processor does not, and then rounds twice where products of two elements are inexact.
bool CpuFuses() {
  float a[2 * kSumBlocks] = {-1, 1 + 0x1p-12f}, b[2 * kSumBlocks] = {1, 1 + 0x1p-12f}, sum = 0;
  const cpu::Matrix c = {&sum, 1, 1, 1, 1};
  std::vector<std::byte> scratch(
      cpu::BlockedGemmScratchBytes(DType::kFloat32, 1, 1, 2 * kSumBlocks) + 64);
  void* memory = scratch.data();
  size_t room = scratch.size();
  cpu::BlockedGemm(DType::kFloat32, {a, 1, 2 * kSumBlocks, 2 * kSumBlocks, 1},
                   {b, 2 * kSumBlocks, 1, 1, 1}, {2 * kSumBlocks, {BlockRange()}}, DType::kFloat32,
                   std::span(&c, 1),
                   static_cast<std::byte*>(std::align(64, scratch.size() - 64, memory, room)));
  return sum == 0x1p-11f + 0x1p-24f;
}

// Every quantity, the loss among them, after several steps; in 16-bit types on any processor,
// since products of two elements are exact there, but not on tensor cores.
TEST(GpuConformance, InvariantSumsGiveTheBitsOfTheCpu) {
  const Mesh one = *Mesh::Create(1, 1);
  const std::unique_ptr<Backend> backend = Make(true, 0, /*tensor_cores=*/false)();
  std::vector<DType> dtypes = {DType::kBFloat16, DType::kFloat16};
  if (CpuFuses()) dtypes.assign(std::begin(kAllDTypes), std::end(kAllDTypes));
  for (DType dtype : dtypes) {
    for (const LinearShape& shape : {kUneven, kTiny, kLarger, LinearShape{64, 1000, 500}}) {
      const verify::LinearProblem problem = RandomProblem(shape, dtype, /*steps=*/3, /*seed=*/17);
      for (LinearMode mode : kModes) {
        SCOPED_TRACE(ToString(shape) + " " + std::string(Name(dtype)) + " " +
                     std::string(Name(mode)));
        const LinearRun on_cpu = RunInvariant(*cpu::MakeCpuBackend({}), one, problem, mode);
        for (int tp : {2, 3, 8}) {
          const Mesh mesh = *Mesh::Create(tp, 1);
          EXPECT_EQ(DifferentBits(on_cpu, RunInvariant(*backend, mesh, problem, mode)), "")
              << "tp " << tp;
        }
      }
    }
  }
}

}  // namespace
}  // namespace tp::conformance
