// A schedule that a test makes op by op, and its launch groups.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "backends/nccl/execution/launch_groups.h"

namespace tp::nccl {

// A schedule of a few ops, and what is launched together of it.
class LaunchGroupsOf : public testing::Test {
 protected:
  // A buffer of so many elements behind the others.
  View Make(int64_t elements) {
    const auto buffer = static_cast<BufferId>(schedule_.buffers.size());
    schedule_.buffers.push_back({"b" + std::to_string(buffer), DType::kFloat32, elements, end_});
    end_ += elements * 4;
    return {buffer, 0, elements == 1 ? Dims{} : Dims{{elements, 1}}};
  }
  void Add(std::string_view action, std::vector<View> reads, std::vector<View> writes,
           std::vector<int> waits = {}, Stream stream = Stream::kCompute) {
    ScheduledOp op;
    op.action = Action{action};
    op.reads = std::move(reads);
    op.writes = std::move(writes);
    op.waits = std::move(waits);
    op.stream = stream;
    schedule_.ops.push_back(std::move(op));
  }
  std::vector<std::vector<int>> Groups() const {
    std::vector<std::vector<int>> groups;
    for (const LaunchGroup& group : GroupLaunches(schedule_)) groups.push_back(group.ops);
    return groups;
  }
  using Ops = std::vector<std::vector<int>>;

  Schedule schedule_;
  int64_t end_ = 0;
};

}  // namespace tp::nccl
