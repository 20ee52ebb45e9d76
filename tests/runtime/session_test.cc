// What a Session promises: what is fed meets the step that it is for, tensors go in and come out
// whole, wrong calls change nothing, and a rank that fails ends all with its name.
#include "tp/runtime/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "sim/fabric/endpoint.h"
#include "tests/model/plain_step.h"
#include "tp/model/linear_step.h"
#include "tp/ops/builder.h"
#include "tp/ops/ops.h"
#include "tp/runtime/parts.h"

namespace tp {
namespace {

using testing::HasSubstr;

constexpr int64_t kTokens = 5, kIn = 7, kOut = 4;  // little of that divides
constexpr int kSteps = 4;

LinearStepOptions Options(LinearMode mode) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = kTokens;
  options.in_features = kIn;
  options.out_features = kOut;
  options.dtype = DType::kFloat64;
  options.learning_rate = 0.125;
  options.loss_scale = 0.5;
  return options;
}

Mesh MeshOf(int tp, int dp) { return *Mesh::Create(tp, dp); }

// Whole numbers, so that every sum is exact; another batch for every step.
double X(int step, int64_t i) { return static_cast<double>((i * 3 + step) % 5 - 2); }
double Target(int step, int64_t i) { return static_cast<double>((i * 3 + 2 * step) % 7 - 3); }
double W(int64_t i) { return static_cast<double>(i * 2 % 5 - 2); }
double B(int64_t i) { return static_cast<double>(i % 3 + 1); }

std::vector<double> Elements(int64_t count, const ElementSource& source) {
  std::vector<double> elements;
  for (int64_t i = 0; i < count; ++i) elements.push_back(source(i));
  return elements;
}

// The step on plain loops, before its first step.
Plain PlainStep() {
  Plain plain = {kTokens, kIn, kOut, 0.125, 0.5, {}};
  plain.v["w"] = Elements(kOut * kIn, W);
  plain.v["b"] = Elements(kOut, B);
  return plain;
}

void RunPlain(Plain& plain, int step) {
  plain.v["x"] = Elements(kTokens * kIn, [=](int64_t i) { return X(step, i); });
  plain.v["targets"] = Elements(kTokens * kOut, [=](int64_t i) { return Target(step, i); });
  plain.Run();
}

HostTensor Tensor(const Shape& shape, const ElementSource& source, DType dtype = DType::kFloat64) {
  HostTensor tensor(shape, dtype);
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.Set(i, source(i));
  return tensor;
}

// x as a tensor and targets element by element: both ways.
Status FeedBatch(Session& session, int step) {
  TP_RETURN_IF_ERROR(
      session.Feed("x", Tensor({kTokens, kIn}, [=](int64_t i) { return X(step, i); })));
  return session.Feed("targets", [=](int64_t i) { return Target(step, i); });
}

Status WriteWeights(Session& session) {
  TP_RETURN_IF_ERROR(session.Write("w", W));
  return session.Write("b", Tensor({kOut}, B));
}

std::unique_ptr<Session> MustCreate(Backend& backend, const Mesh& mesh, LinearMode mode) {
  auto session = Session::Create(backend, mesh, *MakeLinearStep(Options(mode), mesh));
  EXPECT_TRUE(session.ok()) << session.status().ToString();
  return *std::move(session);
}

void ExpectSame(Session& session, const Plain& plain, const std::string& name) {
  const StatusOr<HostTensor> tensor = session.Read(name);
  ASSERT_TRUE(tensor.ok()) << tensor.status().ToString();
  EXPECT_EQ(tensor->ToDoubles(), plain.v.at(name)) << name;
}

void ExpectOk(const Status& status) { EXPECT_TRUE(status.ok()) << status.ToString(); }

constexpr const char* kAllNames[] = {"y", "loss", "dx", "dw", "db", "w", "b"};

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

// Lets everything through until it is closed; then the messages of member 1 wait.
class Gate {
 public:
  class Endpoint final : public sim::Endpoint {
   public:
    Endpoint(Gate& gate, std::unique_ptr<sim::Endpoint> inner)
        : gate_(gate), inner_(std::move(inner)) {}

    int member() const override { return inner_->member(); }
    int size() const override { return inner_->size(); }
    Status Send(int to, std::span<const std::byte> data) override {
      if (member() == 1 && !data.empty()) {
        gate_.closed_.wait(true);
        if (gate_.cut_) return Internal("the cable is cut");
      }
      return inner_->Send(to, data);
    }
    Status Recv(int from, std::span<std::byte> data) override { return inner_->Recv(from, data); }
    Status RecvReduce(int from, std::span<const std::byte> local, std::span<std::byte> out,
                      DType dtype, Reduction reduction) override {
      return inner_->RecvReduce(from, local, out, dtype, reduction);
    }
    void Copy(const std::byte* from, std::span<std::byte> to) override { inner_->Copy(from, to); }
    void Reduce(std::span<const std::byte> a, std::span<const std::byte> b,
                std::span<std::byte> out, DType dtype, Reduction reduction) override {
      inner_->Reduce(a, b, out, dtype, reduction);
    }
    Status Flush() override { return inner_->Flush(); }
    int64_t bytes_sent() const override { return inner_->bytes_sent(); }

   private:
    Gate& gate_;
    const std::unique_ptr<sim::Endpoint> inner_;
  };

  cpu::CpuBackendOptions Options() {
    cpu::CpuBackendOptions options;
    options.wrap_endpoint = [this](std::unique_ptr<sim::Endpoint> inner) {
      return std::make_unique<Endpoint>(*this, std::move(inner));
    };
    return options;
  }

  void Close() { closed_ = true; }
  void Open() {
    closed_ = false;
    closed_.notify_all();
  }
  void Cut() { cut_ = true; }

 private:
  std::atomic<bool> closed_ = false;
  std::atomic<bool> cut_ = false;
};

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

// After the steps that were ordered there.
TEST(SessionTest, ParametersAreCopiedFromOneProgramToAnother) {
  const Mesh mesh = MeshOf(3, 2);
  const auto backend = cpu::MakeCpuBackend({});
  const Program row = *MakeLinearStep(Options(LinearMode::kRow), mesh);
  const Program column = *MakeLinearStep(Options(LinearMode::kColumn), mesh);
  auto sessions = Session::CreateAll(*backend, mesh, {row, row, column});
  ASSERT_TRUE(sessions.ok()) << sessions.status().ToString();
  Session &from = *(*sessions)[0], &to = *(*sessions)[1];
  EXPECT_THAT(to.CopyParametersFrom(from).ToString(),
              HasSubstr("FAILED_PRECONDITION: parameter 'w' has no value that could be copied"));
  ExpectOk(WriteWeights(from));
  ExpectOk(FeedBatch(from, 0));
  ExpectOk(from.Step());
  ExpectOk(to.CopyParametersFrom(from));
  Plain plain = PlainStep();
  RunPlain(plain, 0);
  for (const char* name : {"w", "b"}) ExpectSame(to, plain, name);
  ExpectOk(FeedBatch(to, 1));
  ExpectOk(to.Step());
  ExpectSame(from, plain, "w");  // it is a copy
  RunPlain(plain, 1);
  ExpectSame(to, plain, "w");
  EXPECT_THAT((*sessions)[2]->CopyParametersFrom(from).ToString(),
              HasSubstr("'w' is fp64 [4, 7] {tp: Shard(1), dp: Replicate}, and where it is copied "
                        "from fp64 [4, 7] {tp: Shard(0), dp: Replicate}"));
}

// Values that are gathered whole beside their own part, which lies among the others': what is fed
// and written goes to its part alone, whichever axis is gathered first.
TEST(SessionTest, PartsLieAmongThoseOfOthers) {
  constexpr int64_t kRows = 5, kColumns = 7;
  const auto value = [](int step, int64_t i) { return static_cast<double>(100 * step + i); };
  for (int which = 0; which < 6; ++which) {
    const Mesh mesh = which / 2 == 0 ? MeshOf(2, 3) : which / 2 == 1 ? MeshOf(3, 1) : MeshOf(1, 2);
    const Axis first = which % 2 == 0 ? Axis::kTp : Axis::kDp;
    const Axis second = which % 2 == 0 ? Axis::kDp : Axis::kTp;
    Program program;
    Builder b(program);
    const Placements cut(Shard(0), Shard(1));
    const ValueId x = b.Input("x", {kRows, kColumns}, DType::kFloat64, cut);
    const ValueId w = b.Parameter("w", {kRows, kColumns}, DType::kFloat64, cut);
    for (ValueId v : {x, w}) {
      const std::string name = b.value(v).name;
      const ValueId half = b.Redistribute(name + ".half", v, first, Replicate());
      b.Result(b.Redistribute(name + ".whole", half, second, Replicate()));
    }
    ExpectOk(b.status());
    const auto backend = cpu::MakeCpuBackend({});
    const auto session = Session::Create(*backend, mesh, program);
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    for (int step = 0; step < 2; ++step) {
      const auto source = [&](int64_t i) { return value(step, i); };
      const HostTensor meant = Tensor({kRows, kColumns}, source);
      ExpectOk((*session)->Feed("x", meant));
      ExpectOk((*session)->Write("w", source));
      ExpectOk((*session)->Step());
      for (const char* name : {"x.whole", "w.whole", "w"}) {
        const StatusOr<HostTensor> read = (*session)->Read(name);
        ASSERT_TRUE(read.ok()) << read.status().ToString();
        EXPECT_EQ(read->ToDoubles(), meant.ToDoubles()) << name;
      }
    }
    // What was gathered is of the step that was taken, whatever is written then.
    ExpectOk((*session)->Write("w", [&](int64_t i) { return value(7, i); }));
    const StatusOr<HostTensor> read = (*session)->Read("w.whole");
    ASSERT_TRUE(read.ok()) << read.status().ToString();
    EXPECT_EQ(read->ToDoubles(),
              Elements(kRows * kColumns, [&](int64_t i) { return value(1, i); }));
  }
}

// Where several programs share their ranks, and one goes.
TEST(SessionTest, ItsMemoryGoesWithIt) {
  const Mesh mesh = MeshOf(2, 1);
  const auto backend = cpu::MakeCpuBackend({});
  const Program program = *MakeLinearStep(Options(LinearMode::kRow), mesh);
  auto sessions = Session::CreateAll(*backend, mesh, {program, program});
  ASSERT_TRUE(sessions.ok()) << sessions.status().ToString();
  const auto expect_executors = [&](size_t count) {
    ExpectOk((*sessions)[0]->OnEachRank([&](LocalRank& rank) {
      EXPECT_EQ(rank.executors.size(), count);
      return OkStatus();
    }));
  };
  expect_executors(2);
  sessions->pop_back();
  expect_executors(1);
}

TEST(SessionTest, ReplicasThatDifferAreNotRead) {
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = MustCreate(*backend, MeshOf(3, 1), LinearMode::kColumn);
  ExpectOk(WriteWeights(*session));
  ExpectOk(session->OnEachRank([&](LocalRank& rank) -> Status {
    if (rank.context.rank() != 1) return OkStatus();
    const Schedule& schedule = session->ScheduleOn(rank);
    const auto other = [](int64_t i) { return B(i) + (i == 2 ? 0x1p-40 : 0); };
    return WritePart(session->ExecutorOn(rank), schedule, schedule.BindingOf("b"), FillFrom(other));
  }));
  EXPECT_THAT(session->Read("b").status().ToString(),
              HasSubstr("INTERNAL: b: rank 1 holds other bits than rank 0"));
}

TEST(SessionTest, AStepNeedsEveryInputAndParameter) {
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = MustCreate(*backend, MeshOf(2, 1), LinearMode::kRow);
  EXPECT_THAT(session->Step().ToString(), HasSubstr("FAILED_PRECONDITION: parameter 'b' has no"));
  EXPECT_THAT(session->Save("/tmp/none").ToString(), HasSubstr("'w' has no value that could"));
  ExpectOk(WriteWeights(*session));
  EXPECT_THAT(session->Step().ToString(),
              HasSubstr("FAILED_PRECONDITION: input 'targets' was never fed"));
  ExpectOk(session->Feed("targets", [](int64_t i) { return Target(0, i); }));
  EXPECT_THAT(session->Step().ToString(), HasSubstr("input 'x' was never fed; feed it before"));
}

// Each says what is wrong, and the session goes on.
TEST(SessionTest, WrongCallsAreToldAndChangeNothing) {
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = MustCreate(*backend, MeshOf(2, 1), LinearMode::kRow);
  ExpectOk(WriteWeights(*session));
  ExpectOk(FeedBatch(*session, 0));
  const auto zero = [](int64_t) { return 0.0; };
  const std::pair<Status, const char*> calls[] = {
      {session->Feed("z", zero),
       "NOT_FOUND: 'z' is not an input of this program; those are: x, targets"},
      {session->Feed("w", zero),
       "INVALID_ARGUMENT: 'w' is a parameter, which is written and read, and not an input"},
      {session->Write("x", zero), "'x' is an input, which is fed, and not a parameter"},
      {session->Write("y", zero), "'y' is a result, which is read, and not a parameter"},
      {session->Feed("x", Tensor({kIn, kTokens}, zero)),
       "INVALID_ARGUMENT: 'x' is fp64 [5, 7], and not fp64 [7, 5]"},
      {session->Feed("x", Tensor({kTokens, kIn}, zero, DType::kFloat32)),
       "'x' is fp64 [5, 7], and not fp32 [5, 7]"},
      {session->Write("b", Tensor({kOut + 1}, zero)), "'b' is fp64 [4], and not fp64 [5]"},
      {session->Read("x").status(), "'x' is an input, which is fed, and not a result"},
      {session->Read("z").status(), "NOT_FOUND: 'z' is not a result of this program; those are: y"},
  };
  for (const auto& [status, text] : calls) EXPECT_THAT(status.ToString(), HasSubstr(text));
  ExpectOk(session->Step());
  Plain plain = PlainStep();
  RunPlain(plain, 0);
  for (const char* name : kAllNames) ExpectSame(*session, plain, name);
}

TEST(SessionTest, RefusesAProgramThatDoesNotVerify) {
  const Mesh mesh = MeshOf(2, 1);
  Program program = *MakeLinearStep(Options(LinearMode::kRow), mesh);
  program.mutable_value(*program.Find("dw")).placements = Placements(Partial(), Replicate());
  EXPECT_EQ(Session::Create(*cpu::MakeCpuBackend({}), mesh, program).status().code(),
            StatusCode::kInvalidArgument);
}

// Rank 1 fails in the middle of a step that nobody waits for.
TEST(SessionTest, AFailedRankEndsEveryCallWithItsName) {
  Gate gate;
  const auto backend = cpu::MakeCpuBackend(gate.Options());
  const auto session = MustCreate(*backend, MeshOf(3, 1), LinearMode::kColumn);
  ExpectOk(WriteWeights(*session));
  ExpectOk(FeedBatch(*session, 0));
  ExpectOk(session->Step());
  ExpectOk(session->Wait());
  gate.Cut();
  ExpectOk(session->Step());
  for (int i = 0; i < 2; ++i) {
    for (const Status& status :
         {session->Wait(), session->Step(), FeedBatch(*session, 1), WriteWeights(*session),
          session->Read("w").status(), session->Save("/tmp/none"), session->Load("/tmp/none")}) {
      EXPECT_THAT(status.ToString(), testing::MatchesRegex("INTERNAL: rank 1: .*the cable is cut"));
    }
  }
}

TEST(SessionTest, SeveralShareTheRanks) {
  const Mesh mesh = MeshOf(2, 1);
  const auto backend = cpu::MakeCpuBackend({});
  auto sessions = Session::CreateAll(*backend, mesh,
                                     {*MakeLinearStep(Options(LinearMode::kRow), mesh),
                                      *MakeLinearStep(Options(LinearMode::kColumn), mesh)});
  ASSERT_TRUE(sessions.ok()) << sessions.status().ToString();
  Plain plain = PlainStep();
  for (const auto& session : *sessions) ExpectOk(WriteWeights(*session));
  for (int step = 0; step < 2; ++step) {
    RunPlain(plain, step);
    for (const auto& session : *sessions) {
      ExpectOk(FeedBatch(*session, step));
      ExpectOk(session->Step());
    }
  }
  for (const auto& session : *sessions) ExpectSame(*session, plain, "w");
  sessions->erase(sessions->begin());  // the other one goes on
  ExpectOk((*sessions)[0]->Step());
  RunPlain(plain, 1);
  ExpectSame(*(*sessions)[0], plain, "w");
}

}  // namespace
}  // namespace tp
