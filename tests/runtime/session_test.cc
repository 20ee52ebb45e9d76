// What is fed to a Session meets the step that it is for.
#include "tp/runtime/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/runtime/gate.h"
#include "tests/runtime/small_step.h"
#include "tp/core/numbers.h"
#include "tp/model/linear_step.h"
#include "tp/ops/ops.h"
#include "tp/runtime/parts.h"

namespace tp {
namespace {

using testing::HasSubstr;

constexpr int kSteps = 4;

class SessionOn : public testing::TestWithParam<std::tuple<LinearMode, int, int>> {
 protected:
  const LinearMode mode_ = std::get<0>(GetParam());
  const Mesh mesh_ = MeshOf(std::get<1>(GetParam()), std::get<2>(GetParam()));
};

INSTANTIATE_TEST_SUITE_P(Meshes, SessionOn,
                         testing::Combine(testing::Values(LinearMode::kRow, LinearMode::kColumn),
                                          testing::Values(1, 2, 3), testing::Values(1, 2)),
                         [](const auto& info) {
                           return std::string(Name(std::get<0>(info.param))) + "_tp" +
                                  std::to_string(std::get<1>(info.param)) + "_dp" +
                                  std::to_string(std::get<2>(info.param));
                         });

// Nobody waits: each batch is fed while the step before it may still run.
TEST_P(SessionOn, TrainsAsPlainLoopsDoOnBatchesFedWhileTheStepBeforeRuns) {
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = MustCreate(*backend, mesh_, mode_);
  ExpectOk(WriteWeights(*session));
  Plain plain = PlainStep();
  for (int step = 0; step < kSteps; ++step) {
    ExpectOk(FeedBatch(*session, step));
    ExpectOk(session->Step());
    RunPlain(plain, step);
  }
  for (const char* name : kAllNames) ExpectSame(*session, plain, name);
}

// Under every order that the seeds pick, too, with a look at everything after each step.
TEST_P(SessionOn, EveryStepIsThePlainOne) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    cpu::CpuBackendOptions options;
    options.scheduler = cpu::SchedulerKind::kSeeded;
    options.scheduler_seed = seed;
    const auto backend = cpu::MakeCpuBackend(options);
    const auto session = MustCreate(*backend, mesh_, mode_);
    ExpectOk(WriteWeights(*session));
    Plain plain = PlainStep();
    for (int step = 0; step < kSteps; ++step) {
      ExpectOk(FeedBatch(*session, step));
      ExpectOk(session->Step());
      RunPlain(plain, step);
      for (const char* name : kAllNames) ExpectSame(*session, plain, name);
    }
  }
}

// The first step can't pass its all-reduce, and reads x again after it.
TEST(SessionTest, WhatIsFedLateIsForTheNextStep) {
  Gate gate;
  const auto backend = cpu::MakeCpuBackend(gate.Options());
  const auto session = MustCreate(*backend, MeshOf(2, 1), LinearMode::kColumn);
  ExpectOk(WriteWeights(*session));
  ExpectOk(FeedBatch(*session, 0));
  gate.Close();
  ExpectOk(session->Step());
  ExpectOk(FeedBatch(*session, 1));
  gate.Open();
  Plain plain = PlainStep();
  RunPlain(plain, 0);
  for (const char* name : kAllNames) ExpectSame(*session, plain, name);
  ExpectOk(session->Step());
  RunPlain(plain, 1);
  for (const char* name : kAllNames) ExpectSame(*session, plain, name);
}

TEST(SessionTest, AnInputThatIsNotFedAgainKeepsItsValue) {
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = MustCreate(*backend, MeshOf(2, 2), LinearMode::kRow);
  ExpectOk(WriteWeights(*session));
  ExpectOk(FeedBatch(*session, 0));
  Plain plain = PlainStep();
  for (int step = 0; step < 3; ++step) {
    ExpectOk(session->Step());
    RunPlain(plain, 0);
  }
  ExpectSame(*session, plain, "w");
}

TEST(SessionTest, FedTwiceTheLaterCounts) {
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = MustCreate(*backend, MeshOf(3, 1), LinearMode::kColumn);
  ExpectOk(WriteWeights(*session));
  ExpectOk(FeedBatch(*session, 3));
  ExpectOk(FeedBatch(*session, 0));
  ExpectOk(session->Step());
  Plain plain = PlainStep();
  RunPlain(plain, 0);
  for (const char* name : kAllNames) ExpectSame(*session, plain, name);
}

// A learning rate, say: a value of no dimensions, another one for each step.
TEST(SessionTest, AScalarIsFedLikeAnyInput) {
  const Mesh mesh = MeshOf(2, 2);
  Program program = *MakeLinearStep(Options(LinearMode::kRow), mesh);
  const ValueId rate = *AddInput(program, Value{"rate", {}, DType::kFloat32, {}});
  program.AddResult(rate);
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = Session::Create(*backend, mesh, program);
  ASSERT_TRUE(session.ok()) << session.status().ToString();
  ExpectOk(WriteWeights(**session));
  ExpectOk(FeedBatch(**session, 0));
  const Status never = (*session)->Step();
  EXPECT_THAT(never.ToString(), HasSubstr("FAILED_PRECONDITION: input 'rate' was never fed"));
  for (double value : {0.5, 0.25}) {
    ExpectOk((*session)->Feed("rate", [=](int64_t) { return value; }));
    ExpectOk((*session)->Step());
    const auto read = (*session)->OnEachRank([&](LocalRank& rank) -> Status {
      const Schedule& schedule = (*session)->ScheduleOn(rank);
      TP_ASSIGN_OR_RETURN(
          const std::vector<std::byte> part,
          ReadPart((*session)->ExecutorOn(rank), schedule, schedule.BindingOf("rate")));
      double seen = 0;
      DecodeToDouble(DType::kFloat32, part, std::span(&seen, 1));
      EXPECT_EQ(seen, value);
      return OkStatus();
    });
    ExpectOk(read);
  }
}

// Of zeros nothing is copied where a buffer still has them; where it has not, they are.
TEST(SessionTest, AParameterCanBeSetToZeroAtFirstAndLater) {
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = MustCreate(*backend, MeshOf(2, 1), LinearMode::kRow);
  ExpectOk(session->Write("w", EqualNumbers{0}));
  ExpectOk(session->Write("b", EqualNumbers{0}));
  EXPECT_EQ(session->Write("nobody", EqualNumbers{0}).code(), StatusCode::kNotFound);
  EXPECT_EQ(session->Read("w")->ToDoubles(), std::vector<double>(kIn * kOut, 0));
  ExpectOk(session->Write("w", W));
  EXPECT_NE(session->Read("w")->ToDoubles(), std::vector<double>(kIn * kOut, 0));
  ExpectOk(session->Write("w", EqualNumbers{0}));
  EXPECT_EQ(session->Read("w")->ToDoubles(), std::vector<double>(kIn * kOut, 0));
  ExpectOk(FeedBatch(*session, 0));
  ExpectOk(session->Step());
}

}  // namespace
}  // namespace tp
