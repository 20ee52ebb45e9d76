// Profiled steps on GPUs: CUPTI's kernels, and whose they are.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "backends/nccl/backend.h"
#include "tests/backends/nccl/gpus.h"
#include "tools/measure/train.h"
#include "tp/core/random.h"
#include "tp/model/initial.h"
#include "tp/model/linear_step.h"
#include "tp/model/transformer.h"
#include "tp/schedule/lower.h"

namespace tp::nccl {
namespace {

StatusOr<TrainResult> Profile(const Options& options, const LinearStepOptions& step,
                              const Mesh& mesh) {
  std::map<std::string, ElementSource> sources;
  uint64_t stream = 0;
  for (const char* name : {"x", "targets", "w", "b"}) {
    sources[name] = [random = RandomTensor(/*seed=*/1, stream++)](int64_t i) {
      return random.Uniform(static_cast<uint64_t>(i));
    };
  }
  TP_ASSIGN_OR_RETURN(const auto backend, MakeBackend(options));
  TrainOptions train;
  train.steps = 2;
  train.profiled_steps = 3;
  return Train(*backend, mesh, *MakeLinearStep(step, mesh), sources, train);
}

StatusOr<TrainResult> Profile(bool graph, Peers peers, LinearMode mode, int tp, int dp) {
  LinearStepOptions step;
  step.mode = mode;
  step.tokens = 24;
  step.in_features = 40;
  step.out_features = 56;
  Options options;
  options.graph = graph;
  options.gemm_search = false;
  options.peers = peers;
  return Profile(options, step, *Mesh::Create(tp, dp));
}

bool IsCollective(const std::string& kernel) {
  for (const char* name : {"ncclDevKernel", "ExchangeKernel", "TwoStepKernel", "ShareSumKernel",
                           "WriteKernel", "MeetingKernel"}) {
    if (kernel.find(name) != std::string::npos) return true;
  }
  return false;
}

TEST(GpuProfile, EveryOpHasItsKernels) {
  for (const auto& [graph, peers] :
       {std::pair(true, Peers::kDirect), std::pair(true, Peers::kBulk),
        std::pair(true, Peers::kMedium), std::pair(true, Peers::kNever),
        std::pair(false, Peers::kBulk)}) {
    for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
      for (const auto& [tp, dp] :
           {std::pair(2, 1), std::pair(1, 2), std::pair(4, 1), std::pair(2, 2), std::pair(8, 1)}) {
        if (tp * dp > std::max(2, CountGpus())) continue;  // each rank needs a GPU of its own
        const std::string what = fmt::format("graph {} peers {} mode {} tp {} dp {}", graph,
                                             Name(peers), Name(mode), tp, dp);
        const auto result = Profile(graph, peers, mode, tp, dp);
        ASSERT_TRUE(result.ok()) << what << ": " << result.status().ToString();
        for (const RankRecord& rank : result->ranks) {
          EXPECT_TRUE(rank.profile.device.gpu);
          EXPECT_EQ(rank.profile.device.index, rank.schedule.rank) << what;
          ASSERT_EQ(rank.profile.steps.size(), 3u) << what;
          for (const ProfiledStep& step : rank.profile.steps) {
            ASSERT_EQ(step.record.profile.size(), rank.schedule.ops.size()) << what;
            std::map<Stream, int64_t> stream_ended_ns;
            for (size_t i = 0; i < rank.schedule.ops.size(); ++i) {
              const ScheduledOp& op = rank.schedule.ops[i];
              const std::vector<KernelRecord>& kernels = step.record.profile[i].kernels;
              EXPECT_FALSE(kernels.empty()) << what << " " << op.name;
              for (const KernelRecord& kernel : kernels) {
                EXPECT_LE(kernel.begin_ns, kernel.end_ns) << what << " " << kernel.name;
                EXPECT_LE(stream_ended_ns[op.stream], kernel.begin_ns)
                    << what << " " << kernel.name;
                stream_ended_ns[op.stream] = kernel.end_ns;
                if (kernel.kind != KernelRecord::Kind::kKernel) continue;
                EXPECT_EQ(IsCollective(kernel.name), op.action == Action::kCollective)
                    << what << " " << op.name << " " << kernel.name;
              }
              for (int wait : op.waits) {
                // The clock's steps are too wide for the end of one and the begin of the other.
                const OpRecord& awaited = step.record.ops[static_cast<size_t>(wait)];
                EXPECT_LT(awaited.begin_ns, step.record.ops[i].begin_ns) << what << " " << op.name;
                EXPECT_LT(awaited.end_ns, step.record.ops[i].end_ns) << what << " " << op.name;
              }
            }
          }
        }
      }
    }
  }
}

// More launches than the driver keeps for a stream that stands still: the host would wait for the
// stream, and the stream for the host.
TEST(GpuProfile, ADeepStepIsTimedAndProfiledOpByOp) {
  for (int tp : {1, 2}) {
    const TransformerConfig config = {.layers = 40};
    const Mesh mesh = *Mesh::Create(tp, 1);
    const Program program = *MakeTransformerStep(config, {.batch = 1, .sequence = 8}, mesh);
    ASSERT_GT(program.ops().size(), 1500u);
    std::map<std::string, ElementSource> sources;
    for (const Op& op : program.ops()) {
      const Value& value = program.value(op.outputs[0]);
      if (op.IsSource()) sources[value.name] = InitialValue(config, value.name, /*seed=*/1);
    }
    const auto backend = MakeBackend({.gemm_search = false});
    ASSERT_TRUE(backend.ok());
    TrainOptions train;
    train.steps = 1;
    train.profiled_steps = 1;
    train.tensors = false;
    const auto result = Train(**backend, mesh, program, sources, train);
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    for (const RankRecord& rank : result->ranks) {
      ASSERT_EQ(rank.profile.steps.size(), 1u);
      EXPECT_EQ(rank.profile.steps[0].record.profile.size(), rank.schedule.ops.size());
    }
  }
}

// Kernels that fetch one, two or four elements at a time, which cuBLASLt takes where a matrix
// begins or ends in the middle of 16 bytes, are many times slower than those for eight. A step of
// large products has none: not in the parts in which sums are cut, and not where the tokens are
// uneven.
TEST(GpuProfile, LargeProductsAccessMemoryWidely) {
  LinearStepOptions step;
  step.dtype = DType::kBFloat16;
  step.in_features = 3072;
  step.out_features = 512;
  Options options;
  options.lower.sum_part_bytes = int64_t{2} << 20;  // dx in three parts
  const std::regex narrow("_align[124](_|$|[^0-9])");
  for (int64_t tokens : {int64_t{1024}, int64_t{1023}}) {
    for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
      step.tokens = tokens;
      step.mode = mode;
      const auto result = Profile(options, step, *Mesh::Create(2, 1));
      ASSERT_TRUE(result.ok()) << result.status().ToString();
      for (const RankRecord& rank : result->ranks) {
        const std::vector<OpProfile>& ops = rank.profile.steps[0].record.profile;
        for (size_t i = 0; i < ops.size(); ++i) {
          for (const KernelRecord& kernel : ops[i].kernels) {
            EXPECT_FALSE(std::regex_search(kernel.name, narrow))
                << tokens << " tokens, " << Name(mode) << ", " << rank.schedule.ops[i].name << ": "
                << kernel.name;
          }
        }
      }
    }
  }
}

TEST(GpuProfile, RanksThatShareAGpuAreRefused) {
  const auto backend = MakeBackend({.gemm_search = false, .share_gpus = true});
  ASSERT_TRUE(backend.ok()) << backend.status().ToString();
  const Mesh mesh = *Mesh::Create(CountGpus(), 2);
  const Program program = *MakeLinearStep({}, mesh);
  const Status status = (*backend)->Run(mesh.world(), [&](RankContext& context) -> Status {
    TP_ASSIGN_OR_RETURN(const Schedule schedule, Lower(program, mesh, context.rank()));
    TP_ASSIGN_OR_RETURN(const auto executor, context.MakeExecutor(schedule));
    return executor->Profile(true);
  });
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
}

// Whatever the launch costs, it does not last as long as a profiler that forgot to convert clocks.
TEST(GpuProfile, KernelsRanWhileTheRankWaitedForThem) {
  const auto result = Profile(/*graph=*/true, Peers::kAuto, LinearMode::kRow, 2, 1);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  for (const RankRecord& rank : result->ranks) {
    for (const ProfiledStep& step : rank.profile.steps) {
      for (const OpRecord& op : step.record.ops) {
        EXPECT_GT(op.end_ns, step.released_ns);
        EXPECT_LT(op.begin_ns, step.synchronized_ns);
      }
    }
  }
}

}  // namespace
}  // namespace tp::nccl
