// A rank whose profiled steps are made by hand: two products, an all_reduce between them, an update
// that waits for it. Times are whole microseconds after `kStart`.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "tp/runtime/rank_record.h"

namespace tp {

inline constexpr int64_t kStart = 5'000'000'000;
constexpr int64_t At(int64_t us) { return kStart + us * 1000; }

inline ScheduledOp MakeOp(Action action, const char* name, Phase phase) {
  ScheduledOp op;
  op.action = action;
  op.name = name;
  op.phase = phase;
  return op;
}

//   compute        0 y.partial 10                12 dw 15   [waits]   20 w 22
//   communication  [waits]        11 y 19
inline RankRecord MakeProfiledRank() {
  ScheduledOp product = MakeOp(Action::kGemm, "y.partial", Phase::kForward);
  product.reads = {MatrixView(0, 0, 2, 3, 3, 1), MatrixView(1, 0, 3, 5, 5, 1)};
  ScheduledOp collective = MakeOp(Action::kCollective, "y", Phase::kForward);
  collective.stream = Stream::kCommunication;
  collective.call = {CollectiveKind::kAllReduce, DType::kBFloat16, Reduction::kSum, 0, {10}};
  collective.group = {1, 3};
  collective.send = MatrixView(2, 0, 2, 5, 5, 1);
  collective.waits = {0};
  ScheduledOp gradient = MakeOp(Action::kGemm, "dw", Phase::kBackward);
  gradient.reads = {MatrixView(0, 0, 3, 2, 1, 3), MatrixView(2, 0, 2, 5, 5, 1)};
  ScheduledOp update = MakeOp(Action{"sgd"}, "w", Phase::kOptimizer);
  update.reads = {MatrixView(1, 0, 3, 5, 5, 1)};
  update.waits = {1};

  RankRecord rank;
  rank.schedule.rank = 3;
  rank.schedule.buffers = {
      {"x", DType::kFloat32, 6}, {"w", DType::kFloat64, 15}, {"y", DType::kBFloat16, 10}};
  rank.schedule.ops = {product, collective, gradient, update};
  rank.algorithms = {"", "ring", "", ""};
  rank.expected_bytes = {0, 40, 0, 0};
  rank.profile.host = "box";
  rank.profile.process = 77;
  rank.profile.device.name = "Some Processor";
  rank.profile.device.memory_bytes = 1000;
  ProfiledStep step;
  step.number = 12;
  step.arrived_ns = At(-9);
  step.released_ns = At(-2);
  step.handed_over_ns = At(1);
  step.synchronized_ns = At(25);
  step.record.begin_ns = At(-1);
  step.record.end_ns = At(24);
  step.record.ops = {
      {At(0), At(10), 0}, {At(11), At(19), 20}, {At(12), At(15), 0}, {At(20), At(22), 0}};
  rank.profile.steps = {std::move(step)};
  return rank;
}

// The same on a GPU: launched one by one before the step begins, the update by two kernels.
inline RankRecord MakeProfiledGpuRank() {
  RankRecord rank = MakeProfiledRank();
  rank.profile.device = {true, 2, "Some GPU", 2000, 9, 0, 132};
  rank.profile.steps[0].released_ns = At(-8);
  StepRecord& record = rank.profile.steps[0].record;
  const auto kernel = [](const char* name, int64_t begin, int64_t end) {
    KernelRecord kernel;
    kernel.name = name;
    kernel.begin_ns = At(begin);
    kernel.end_ns = At(end);
    kernel.correlation = 900;
    kernel.grid = {4, 5, 1};
    kernel.block = {128, 1, 1};
    kernel.registers_per_thread = 32;
    kernel.shared_bytes = 48;
    kernel.blocks_per_multiprocessor = 0.5;
    kernel.occupancy_percent = 25;
    return kernel;
  };
  KernelRecord fill = kernel("memset", 20, 21);
  fill.kind = KernelRecord::Kind::kFill;
  record.profile = {{At(-7), At(-6), {kernel("a_gemm", 0, 10)}},
                    {At(-6), At(-5), {kernel("a_collective", 11, 19)}},
                    {At(-5), At(-4), {kernel("a_gemm", 12, 15)}},
                    {At(-4), At(-3), {fill, kernel("an_update", 21, 22)}}};
  return rank;
}

}  // namespace tp
