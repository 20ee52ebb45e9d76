#include "tests/house/include_rules.h"

#include <gtest/gtest.h>

namespace tp {
namespace {

TEST(IncludeRules, AllowWhatTheTableSays) {
  const struct {
    const char* from;
    const char* included;
  } allowed[] = {
      {"tp/core/dtype.cc", "tp/core/dtype.h"},
      {"tp/schedule/lower.cc", "tp/program/program.h"},
      {"tp/model/linear_step.cc", "tp/layers/linear.h"},
      {"sim/collectives/ring.cc", "sim/fabric/endpoint.h"},
      {"sim/fabric/reduce.cc", "tp/core/dtype.h"},
      {"backends/cpu/executor.cc", "sim/collectives/communicator.h"},
      {"backends/cpu/gemm_eigen.cc", "Eigen/Core"},
      {"backends/nccl/kernels/elementwise.cu", "cuda_bf16.h"},
      {"tools/bench/bench.cc", "backends/cpu/backend.h"},
      {"tests/conformance/x.cc", "backends/nccl/backend.h"},
      {"tests/backends/nccl/x.cc", "cuda_runtime_api.h"},
      {"tp/core/random.cc", "Random123/philox.h"},
      {"tp/core/status.h", "vector"},
      {"tools/bench/print.cc", "fmt/format.h"},
      {"tp/core/status.cc", "glog/logging.h"},
      {"tests/backends/nccl/x.h", "glog/logging.h"},
  };
  for (const auto& c : allowed) EXPECT_EQ(ObjectionToInclude(c.from, c.included), "") << c.from;
}

TEST(IncludeRules, ForbidTheOtherWayRound) {
  const struct {
    const char* from;
    const char* included;
    const char* objection;
  } forbidden[] = {
      {"tp/runtime/session.cc", "backends/cpu/backend.h",
       "tp/runtime may not include backends/cpu"},
      {"tp/core/collective.cc", "sim/fabric/fabric.h", "tp/core may not include sim/fabric"},
      {"sim/fabric/fabric.cc", "tp/schedule/schedule.h", "sim/fabric may not include tp/schedule"},
      {"sim/fabric/fabric.cc", "sim/collectives/ring.h",
       "sim/fabric may not include sim/collectives"},
      {"backends/cpu/x.cc", "backends/nccl/x.h", "backends/cpu may not include backends/nccl"},
      {"backends/nccl/x.cc", "backends/cpu/x.h", "backends/nccl may not include backends/cpu"},
      {"backends/nccl/x.cc", "sim/fabric/x.h", "backends/nccl may not include sim/fabric"},
      {"tp/program/x.cc", "tp/schedule/x.h", "tp/program may not include tp/schedule"},
      {"tp/core/x.cc", "tp/program/x.h", "tp/core may not include tp/program"},
      {"tp/layers/x.cc", "tp/autodiff/x.h", "tp/layers may not include tp/autodiff"},
      {"tp/verify/reference.cc", "tp/layers/linear.h", "tp/verify may not include tp/layers"},
      {"tp/runtime/x.cc", "tp/observe/x.h", "tp/runtime may not include tp/observe"},
      {"tp/core/x.cc", "tests/core/x.h", "only tests include tests"},
      {"tools/bench/bench.cc", "tests/core/x.h", "only tests include tests"},
      {"tp/runtime/x.cc", "tp/io/npy.h", "tp/runtime may not include tp/io"},
      {"tp/unheard/x.cc", "tp/core/x.h", "tp/unheard has no row in the table of folders"},
      {"tp/x.cc", "tp/core/x.h", "tp has no row in the table of folders"},
      {"tp/schedule/x.cc", "Eigen/Core", "only backends/cpu includes this library"},
      {"backends/cpu/x.cc", "nccl.h", "only backends/nccl includes this library"},
      {"backends/cpu/x.cc", "cudnn_frontend.h", "only backends/nccl includes this library"},
      {"tp/runtime/x.cc", "gflags/gflags.h", "only tools includes this library"},
      {"tp/core/x.cc", "gtest/gtest.h", "only tests includes this library"},
      {"tp/core/status.h", "glog/logging.h",
       "a header hands no CHECK and LOG on to those who include it; only .cc files take glog"},
      {"tp/core/x.cc", "../core/status.h", "paths begin at the repository's root"},
  };
  for (const auto& c : forbidden) {
    EXPECT_EQ(ObjectionToInclude(c.from, c.included), c.objection) << c.from;
  }
}

}  // namespace
}  // namespace tp
