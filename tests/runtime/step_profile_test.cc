#include "tp/runtime/step_profile.h"

#include <gtest/gtest.h>

#include <string>

namespace tp {
namespace {

KernelRecord MakeKernel() {
  KernelRecord kernel;
  kernel.kind = KernelRecord::Kind::kFill;
  kernel.name = "memset";
  kernel.begin_ns = 1;
  kernel.end_ns = 2;
  kernel.correlation = 3;
  kernel.grid = {4, 5, 6};
  kernel.block = {7, 8, 9};
  kernel.registers_per_thread = 10;
  kernel.shared_bytes = 11;
  kernel.blocks_per_multiprocessor = 1.5;
  kernel.occupancy_percent = 2.5;
  return kernel;
}

TEST(StepProfileTest, AProfileTravelsWhole) {
  RankProfile profile;
  profile.host = "box";
  profile.process = 20;
  profile.device = {true, 21, "a device", 22, 23, 24, 25};
  ProfiledStep step;
  step.number = 30;
  step.arrived_ns = 31;
  step.released_ns = 32;
  step.handed_over_ns = 33;
  step.synchronized_ns = 34;
  step.record = {40, 41, {{42, 43, 44}, {45, 46, 47}}, {{48, 49, {MakeKernel()}}, {50, 51, {}}}};
  step.record.clock = ClockKind::kPredicted;
  profile.steps = {ProfiledStep(), step};
  BlobWriter writer;
  PackProfile(profile, writer);
  const std::string blob = writer.Take();
  BlobReader reader(blob);
  const RankProfile back = UnpackProfile(reader);
  EXPECT_EQ(back.host, "box");
  EXPECT_EQ(back.process, 20);
  EXPECT_TRUE(back.device.gpu);
  EXPECT_EQ(back.device.index, 21);
  EXPECT_EQ(back.device.name, "a device");
  EXPECT_EQ(back.device.memory_bytes, 22);
  EXPECT_EQ(back.device.compute_major, 23);
  EXPECT_EQ(back.device.compute_minor, 24);
  EXPECT_EQ(back.device.multiprocessors, 25);
  ASSERT_EQ(back.steps.size(), 2u);
  const ProfiledStep& last = back.steps[1];
  EXPECT_EQ(last.number, 30);
  EXPECT_EQ(last.arrived_ns, 31);
  EXPECT_EQ(last.released_ns, 32);
  EXPECT_EQ(last.handed_over_ns, 33);
  EXPECT_EQ(last.synchronized_ns, 34);
  EXPECT_EQ(last.record.clock, ClockKind::kPredicted);
  EXPECT_EQ(last.record.begin_ns, 40);
  EXPECT_EQ(last.record.end_ns, 41);
  ASSERT_EQ(last.record.ops.size(), 2u);
  EXPECT_EQ(last.record.ops[1].begin_ns, 45);
  EXPECT_EQ(last.record.ops[1].end_ns, 46);
  EXPECT_EQ(last.record.ops[1].bytes_sent, 47);
  ASSERT_EQ(last.record.profile.size(), 2u);
  EXPECT_EQ(last.record.profile[0].enqueue_begin_ns, 48);
  EXPECT_EQ(last.record.profile[0].enqueue_end_ns, 49);
  ASSERT_EQ(last.record.profile[0].kernels.size(), 1u);
  EXPECT_EQ(last.record.profile[0].kernels[0], MakeKernel());
  EXPECT_TRUE(last.record.profile[1].kernels.empty());
}

TEST(StepProfileTest, ARankKnowsItsHostAndProcess) {
  const RankProfile profile = MakeRankProfile({false, 0, "a processor", 1, 0, 0, 0});
  EXPECT_FALSE(profile.host.empty());
  EXPECT_GT(profile.process, 0);
  EXPECT_EQ(profile.device.name, "a processor");
  EXPECT_TRUE(profile.steps.empty());
}

}  // namespace
}  // namespace tp
