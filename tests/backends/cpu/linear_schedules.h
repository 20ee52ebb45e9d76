// The schedules of a linear layer's training step, and inputs for them, for tests that drive
// executors themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tp/core/dtype.h"
#include "tp/core/status.h"
#include "tp/layers/linear.h"
#include "tp/runtime/executor.h"
#include "tp/schedule/schedule.h"

namespace tp {

struct LinearSpec {
  LinearMode mode = LinearMode::kColumn;
  DType dtype = DType::kFloat32;
  int64_t tokens = 6;
  int64_t in_features = 10;
  int64_t out_features = 7;
  int tp = 2;
  int dp = 1;
};

// One for each rank; CHECKs that the spec is valid.
std::vector<Schedule> MakeSchedules(const LinearSpec& spec);

// Writes random numbers to x, targets, w and b, the same ones at every degree.
Status Feed(Executor& executor, const Schedule& schedule);

// This rank's part of the value called `name`.
StatusOr<std::vector<std::byte>> ReadPart(Executor& executor, const Schedule& schedule,
                                          std::string_view name);

}  // namespace tp
