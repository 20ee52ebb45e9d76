// A Session tells what is wrong: wrong calls change nothing, and a rank that fails ends all with
// its name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "backends/cpu/backend.h"
#include "tests/runtime/gate.h"
#include "tests/runtime/small_step.h"
#include "tp/runtime/session.h"

namespace tp {
namespace {

using testing::HasSubstr;

TEST(SessionErrorsTest, AStepNeedsEveryInputAndParameter) {
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
TEST(SessionErrorsTest, WrongCallsAreToldAndChangeNothing) {
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

TEST(SessionErrorsTest, RefusesAProgramThatDoesNotVerify) {
  const Mesh mesh = MeshOf(2, 1);
  Program program = *MakeLinearStep(Options(LinearMode::kRow), mesh);
  program.mutable_value(*program.Find("dw")).placements = Placements(Partial(), Replicate());
  EXPECT_EQ(Session::Create(*cpu::MakeCpuBackend({}), mesh, program).status().code(),
            StatusCode::kInvalidArgument);
}

// Rank 1 fails in the middle of a step that nobody waits for.
TEST(SessionErrorsTest, AFailedRankEndsEveryCallWithItsName) {
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

}  // namespace
}  // namespace tp
