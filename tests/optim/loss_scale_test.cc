#include "tp/optim/loss_scale.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/program/programs.h"
#include "tp/ops/builder.h"
#include "tp/runtime/session.h"

namespace tp {
namespace {

using testing::ElementsAre;

// A scale and its update by squares that are fed.
class LossScales : public testing::Test {
 protected:
  LossScales() {
    Program program;
    Builder b(program);
    const LossScaling scale = AddLossScale(b, DType::kFloat32);
    const ValueId squares = b.Input("squares", {}, DType::kFloat32);
    const ValueId clip = b.Input("clip", {}, DType::kFloat32);
    b.Result(UpdateLossScale(b, scale, squares, clip));
    EXPECT_EQ(b.status().ToString(), "OK");
    session_ = Session::Create(*backend_, Mesh::Create(1, 1).value(), program).value();
    Set(kFirstLossScale, 0);
  }

  void Set(double scale, double steps) {
    Write(kLossScaleParameter, scale);
    Write(kLossScaleInverse, 1 / scale);
    Write(kLossScaleSteps, steps);
  }

  // The scale, its inverse, the steps since it changed, and what scaled gradients that are clipped
  // by 1/2 are multiplied by, after a step with such squares.
  std::vector<double> After(double squares) {
    EXPECT_TRUE(session_->Feed("squares", [=](int64_t) { return squares; }).ok());
    EXPECT_TRUE(session_->Feed("clip", [](int64_t) { return 0.5; }).ok());
    EXPECT_EQ(session_->Step().ToString(), "OK");
    std::vector<double> after;
    for (const char* name :
         {kLossScaleParameter, kLossScaleInverse, kLossScaleSteps, "clip.unscaled"}) {
      after.push_back(session_->Read(name).value().At(0));
    }
    return after;
  }

 private:
  void Write(const char* name, double value) {
    EXPECT_TRUE(session_->Write(name, [=](int64_t) { return value; }).ok());
  }

  const std::unique_ptr<Backend> backend_ = cpu::MakeCpuBackend({});
  std::unique_ptr<Session> session_;
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST_F(LossScales, HalvesWhereGradientsAreNotFinite) {
  EXPECT_THAT(After(3), ElementsAre(4096, 1.0 / 4096, 1, 0.5 / 4096));
  EXPECT_THAT(After(kInfinity), ElementsAre(2048, 1.0 / 2048, 0, 0));
  EXPECT_THAT(After(std::numeric_limits<double>::quiet_NaN()), ElementsAre(1024, 1.0 / 1024, 0, 0));
  EXPECT_THAT(After(0), ElementsAre(1024, 1.0 / 1024, 1, 0.5 / 1024));
}

TEST_F(LossScales, DoublesAfterTwoThousandSteps) {
  Set(4096, 1998);
  EXPECT_THAT(After(1), ElementsAre(4096, 1.0 / 4096, 1999, 0.5 / 4096));
  EXPECT_THAT(After(1), ElementsAre(8192, 1.0 / 8192, 0, 0.5 / 4096));
}

TEST_F(LossScales, IsNeverBelowOne) {
  Set(1, 5);
  EXPECT_THAT(After(kInfinity), ElementsAre(1, 1, 0, 0));
}

}  // namespace
}  // namespace tp
