// Tensors go into a Session and come out whole, from one program to another too, and several
// programs share their ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "backends/cpu/backend.h"
#include "tests/runtime/small_step.h"
#include "tp/ops/builder.h"
#include "tp/runtime/parts.h"
#include "tp/runtime/session.h"

namespace tp {
namespace {

using testing::HasSubstr;

// After the steps that were ordered there.
TEST(SessionTensorsTest, ParametersAreCopiedFromOneProgramToAnother) {
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
TEST(SessionTensorsTest, PartsLieAmongThoseOfOthers) {
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
TEST(SessionTensorsTest, ItsMemoryGoesWithIt) {
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

TEST(SessionTensorsTest, ReplicasThatDifferAreNotRead) {
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

TEST(SessionTensorsTest, SeveralShareTheRanks) {
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
