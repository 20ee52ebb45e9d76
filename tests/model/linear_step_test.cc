#include "tp/model/linear_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <tuple>

#include "tests/model/plain_step.h"
#include "tests/schedule/interpreter.h"
#include "tests/schedule/soundness.h"
#include "tp/schedule/byte_contract.h"

namespace tp {
namespace {

using testing::HasSubstr;

LinearStepOptions Options(LinearMode mode, int64_t tokens, int64_t in, int64_t out) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = tokens;
  options.in_features = in;
  options.out_features = out;
  options.learning_rate = 0.125;
  options.loss_scale = 0.5;
  return options;
}

Mesh MeshOf(int tp, int dp) { return Mesh::Create(tp, dp).value(); }

std::string TextOf(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(LinearStep, PrintsAsTheLayersWroteIt) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    LinearStepOptions options = Options(mode, 20, 30, 10);
    options.optimize = false;
    EXPECT_EQ(ToString(MakeLinearStep(options, MeshOf(2, 2)).value()),
              TextOf("tests/model/testdata/" + std::string(Name(mode)) + ".program"));
  }
}

TEST(LinearStep, TheLossIsTheMeanUnlessSaid) {
  LinearStepOptions options = Options(LinearMode::kRow, 4, 3, 8);
  EXPECT_EQ(LossScale(options), 0.5);
  options.loss_scale.reset();
  EXPECT_EQ(LossScale(options), 1.0 / 32);
}

TEST(LinearStep, RefusesSizesThatNoMatrixHas) {
  const struct {
    int64_t tokens, in, out;
    const char* part;
  } cases[] = {
      {0, 1, 1, "tokens is 0; it must be between 1 and"},
      {1, -5, 1, "in_features is -5; it must be"},
      {1, 1, int64_t{1} << 33, "out_features is 8589934592; it must be"},
      {int64_t{1} << 32, int64_t{1} << 32, 1, "tokens x in_features is too large a matrix"},
      {1, int64_t{1} << 25, int64_t{1} << 25, "in_features x out_features is too large"},
  };
  for (const auto& c : cases) {
    const auto program =
        MakeLinearStep(Options(LinearMode::kRow, c.tokens, c.in, c.out), MeshOf(2, 1));
    EXPECT_EQ(program.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(program.status().message(), HasSubstr(c.part));
  }
  EXPECT_TRUE(MakeLinearStep(Options(LinearMode::kRow, 1 << 24, 1 << 24, 1), MeshOf(2, 1)).ok());
}

using Contract = std::vector<std::tuple<std::string, CollectiveKind, Axis, Phase, int64_t>>;

Contract SortedContract(const Program& program, const Mesh& mesh) {
  Contract contract;
  for (const ContractEntry& e : ByteContract(program, mesh)) {
    // The sum of xw is y once its bias is inside.
    contract.emplace_back(e.name == "xw" ? "y" : e.name, e.kind, e.axis, e.phase, e.bytes);
  }
  std::sort(contract.begin(), contract.end());
  return contract;
}

class EveryMesh : public testing::TestWithParam<std::tuple<LinearMode, bool>> {};

TEST_P(EveryMesh, StepsAsPlainMathDoes) {
  const auto [mode, optimize] = GetParam();
  const std::tuple<int64_t, int64_t, int64_t> sizes[] = {
      {5, 7, 3}, {1, 1, 1}, {4, 8, 6}, {7, 3, 10}};
  const Sources sources = {
      {"x", [](int64_t i) { return static_cast<double>(i * 5 % 7 - 3); }},
      {"targets", [](int64_t i) { return static_cast<double>(i * 3 % 11 - 5); }},
      {"w", [](int64_t i) { return static_cast<double>(i * 2 % 5 - 2); }},
      {"b", [](int64_t i) { return static_cast<double>(i % 3 + 1); }}};
  uint64_t seed = 0;
  for (const auto& [m, k, n] : sizes) {
    for (int tp : {1, 2, 3, 4, 5, 8}) {
      for (int dp : {1, 2, 3}) {
        SCOPED_TRACE(testing::Message()
                     << m << "x" << k << "x" << n << " tp " << tp << " dp " << dp);
        const Mesh mesh = MeshOf(tp, dp);
        LinearStepOptions options = Options(mode, m, k, n);
        options.optimize = optimize;
        const Program program = MakeLinearStep(options, mesh).value();
        Interpreter interpreter(program, mesh);
        ASSERT_EQ(DefectOf(program, mesh, interpreter.schedules()), "");
        interpreter.Fill(sources);
        Plain plain = {m, k, n, options.learning_rate, LossScale(options), {}};
        for (const auto& [name, size] : std::map<std::string, int64_t>{
                 {"x", m * k}, {"targets", m * n}, {"w", n * k}, {"b", n}}) {
          for (int64_t i = 0; i < size; ++i) plain.v[name].push_back(sources.at(name)(i));
        }
        for (int step = 0; step < 3; ++step) {
          plain.Run();
          ASSERT_EQ(interpreter.Step(++seed).ToString(), "OK");
          for (const auto& [name, expected] : plain.v) {
            const auto actual = interpreter.Read(name);
            ASSERT_TRUE(actual.ok()) << actual.status().ToString();
            ASSERT_EQ(*actual, expected) << name << " after step " << step;
          }
        }
      }
    }
  }
}

TEST_P(EveryMesh, MovesTheSameBytesWithAndWithoutPasses) {
  const auto [mode, optimize] = GetParam();
  for (int tp : {1, 2, 3, 4, 5, 8}) {
    for (int dp : {1, 2, 3}) {
      const Mesh mesh = MeshOf(tp, dp);
      LinearStepOptions options = Options(mode, 7, 5, 11);
      options.optimize = false;
      const Program plain = MakeLinearStep(options, mesh).value();
      options.optimize = true;
      const Program optimized = MakeLinearStep(options, mesh).value();
      EXPECT_EQ(SortedContract(plain, mesh), SortedContract(optimized, mesh));
      std::vector<std::string> names[2];
      for (ValueId id : plain.results()) names[0].push_back(plain.value(id).name);
      for (ValueId id : optimized.results()) names[1].push_back(optimized.value(id).name);
      EXPECT_EQ(names[0], (std::vector<std::string>{"y", "loss", "dx", "dw", "db"}));
      EXPECT_EQ(names[0], names[1]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, EveryMesh,
                         testing::Combine(testing::Values(LinearMode::kRow, LinearMode::kColumn),
                                          testing::Bool()),
                         [](const auto& param) {
                           return std::string(Name(std::get<0>(param.param))) +
                                  (std::get<1>(param.param) ? "_optimized" : "");
                         });

}  // namespace
}  // namespace tp
