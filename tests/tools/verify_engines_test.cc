// The verify tool on engines that are wrong, or have few ranks: what the command line can't ask
// for.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/planted/faulty_endpoint.h"
#include "tests/tools/verify_inputs.h"
#include "tools/verify/invariant.h"
#include "tools/verify/print.h"
#include "tools/verify/run.h"

namespace tp {
namespace {

// A faulty engine does not pass for the user's tensors being odd.
TEST(VerifyEnginesTest, AnEngineThatIsWrongIsCaught) {
  verifier::VerifierOptions options;
  options.engine.tp = 3;
  options.engine.warmup = 0;
  options.engine.floor = false;
  options.load = MakeInputs();
  options.lanes = {verify::Lane::kBounded, verify::Lane::kExact};
  const verifier::UserTensors tensors = verifier::LoadTensors(options).value();
  cpu::CpuBackendOptions cpu_options;
  EXPECT_TRUE(
      verifier::RunVerifier(*cpu::MakeCpuBackend(cpu_options), options, tensors).value().ok());
  cpu_options.wrap_endpoint =
      planted::CombineBy([](double local, double received) { return local + 2 * received; },
                         [](int member, int, int) { return member == 1; });
  const verifier::VerifierResult wrong =
      verifier::RunVerifier(*cpu::MakeCpuBackend(cpu_options), options, tensors).value();
  EXPECT_FALSE(wrong.ok());
  EXPECT_FALSE(wrong.lanes[0].result->ok());
  EXPECT_FALSE(wrong.lanes[1].result->ok());
  EXPECT_TRUE(Contains(RenderEnd(options, wrong),
                       "Verdict: our engine, bounded: WRONG; our engine, exact: WRONG."));
  EXPECT_EQ(nlohmann::json::parse(ToJson(options, {}, tensors, wrong))["ok"], false);
}

TEST(VerifyEnginesTest, OtherBitsAreWrong) {
  const auto random = [](const Shape& shape) { return Random(shape, 0); };
  const verify::Observed run = {.y = random({2, 3}),
                                .dx = random({2, 4}),
                                .dw = random({3, 4}),
                                .db = random({3}),
                                .w = random({3, 4}),
                                .b = random({3}),
                                .losses = {0.5, 0.25}};
  EXPECT_TRUE(verifier::DifferentBits(run, run).empty());
  using verify::Quantity;
  for (const auto& [quantity, tensor] : {std::pair(Quantity::kY, &verify::Observed::y),
                                         {Quantity::kDx, &verify::Observed::dx},
                                         {Quantity::kDw, &verify::Observed::dw},
                                         {Quantity::kDb, &verify::Observed::db},
                                         {Quantity::kW, &verify::Observed::w},
                                         {Quantity::kB, &verify::Observed::b}}) {
    verify::Observed other = run;
    (other.*tensor).bytes()[4] ^= std::byte{1};  // the last bit of an element's fraction
    EXPECT_EQ(verifier::DifferentBits(run, other), std::vector{quantity});
  }
  verify::Observed other = run;
  other.losses[1] = std::nextafter(other.losses[1], 1);
  EXPECT_EQ(verifier::DifferentBits(run, other), std::vector{Quantity::kLoss});
}

// The CPU backend, as if it had few ranks.
class FewRanks : public Backend {
 public:
  explicit FewRanks(int ranks) : ranks_(ranks), backend_(cpu::MakeCpuBackend({})) {}

  std::string name() const override { return backend_->name(); }
  std::vector<std::pair<std::string, std::string>> Describe() const override {
    return backend_->Describe();
  }
  int DefaultTp(int dp) const override { return backend_->DefaultTp(dp); }
  Status Check(int world, DType dtype) const override {
    if (world > ranks_) return Unavailable("no more ranks");
    return backend_->Check(world, dtype);
  }
  bool IsRoot() const override { return true; }
  Status Run(int world, const std::function<Status(RankContext&)>& body) override {
    return backend_->Run(world, body);
  }

 private:
  const int ranks_;
  const std::unique_ptr<Backend> backend_;
};

TEST(VerifyEnginesTest, TheInvariantLaneSaysWhichDegreesItDidNotRun) {
  verifier::VerifierOptions options;
  options.load = MakeInputs();
  options.engine.warmup = 0;
  options.engine.steps = 1;
  options.engine.floor = false;
  const verifier::UserTensors tensors = verifier::LoadTensors(options).value();
  FewRanks three(3);
  verifier::VerifierResult result;
  result.invariant = verifier::RunInvariant(three, options.engine, tensors.problem).value();
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.invariant->runs.size(), 6u);  // tp 1, 2 and 3 in both modes
  EXPECT_TRUE(
      Contains(RenderInvariant(options, *result.invariant), "tp 8: not run: no more ranks"));
  const nlohmann::json json = nlohmann::json::parse(ToJson(options, {}, tensors, result));
  EXPECT_EQ(json["invariant_not_run"].size(), 3u);
  FewRanks one(1);  // has nothing to compare
  const Status refused = verifier::RunInvariant(one, options.engine, tensors.problem).status();
  EXPECT_EQ(refused.code(), StatusCode::kUnavailable);
}

// A transformer has more parameters than a line takes.
TEST(VerifyEnginesTest, ManyOtherBitsAreNamedInALine) {
  verifier::InvariantResult result;
  result.compared = "all";
  result.runs.resize(2);
  for (int i = 0; i < 100; ++i) {
    result.runs[1].different.push_back("layers." + std::to_string(i) + ".attention.key.weight");
  }
  const std::string text = RenderRuns(result, /*verbose=*/false);
  EXPECT_TRUE(Contains(text, "WRONG: all but layers.0.attention.key.weight, ")) << text;
  EXPECT_TRUE(Contains(text, " and 98 more\n")) << text;
}

TEST(VerifyEnginesTest, OtherBitsAreReported) {
  verifier::VerifierOptions options;
  options.load = MakeInputs();
  const verifier::UserTensors tensors = verifier::LoadTensors(options).value();
  verifier::VerifierResult other_bits;
  other_bits.invariant = verifier::InvariantResult();
  other_bits.invariant->runs = {{.tp = 1, .mode = "row", .different = {}}};
  EXPECT_TRUE(other_bits.ok());
  other_bits.invariant->runs.push_back({.tp = 2, .mode = "row", .different = {"dX"}});
  EXPECT_FALSE(other_bits.ok());
  EXPECT_TRUE(Contains(RenderInvariant(options, *other_bits.invariant), "WRONG: all but dX"));
  const nlohmann::json json = nlohmann::json::parse(ToJson(options, {}, tensors, other_bits));
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["invariant"][1]["different"], nlohmann::json({"dX"}));
}

}  // namespace
}  // namespace tp
