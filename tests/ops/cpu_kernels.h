// The CPU backend's kernels, for trials.
#pragma once

#include "tests/ops/trial.h"

namespace tp {

class CpuKernels : public TrialKernels {
 public:
  std::string Run(const Schedule& schedule, const ScheduledOp& op,
                  std::vector<std::vector<std::byte>>& memory) override;
  const FunctionErrors* functions() const override;
};

}  // namespace tp
