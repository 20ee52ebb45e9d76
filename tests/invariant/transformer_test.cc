// The transformer in the invariant order: the same bits for every tp, with and without sequence
// parallelism, over twenty steps of training.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/model/small_transformer.h"
#include "tp/runtime/session.h"

namespace tp {
namespace {

constexpr int kSteps = 20;

struct Trained {
  std::vector<double> losses;
  std::map<std::string, std::vector<double>> parameters;

  bool operator==(const Trained&) const = default;
};

Trained TrainOver(const Mesh& mesh, bool sequence_parallel, DType dtype) {
  TransformerStepOptions options = SmallStep();
  options.sum_order = SumOrder::kInvariant;
  options.sequence_parallel = sequence_parallel;
  options.dtype = dtype;
  options.adamw.max_norm = 0.5;  // which clips
  const TransformerConfig config = SmallTransformer();
  const auto program = MakeTransformerStep(config, options, mesh);
  EXPECT_EQ(program.status().ToString(), "OK");
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = Session::Create(*backend, mesh, *program);
  EXPECT_EQ(session.status().ToString(), "OK");
  const ElementSources sources = SourcesOf(*program, config);
  for (const std::string& name : (*session)->NamesOf(Role::kParameter)) {
    EXPECT_TRUE((*session)->Write(name, sources.at(name)).ok());
  }
  for (const std::string& name : (*session)->NamesOf(Role::kInput)) {
    EXPECT_TRUE((*session)->Feed(name, sources.at(name)).ok());
  }
  Trained trained;
  for (int step = 1; step <= kSteps; ++step) {
    const AdamWOptions& adamw = options.adamw;
    for (const auto& [name, beta] : {std::pair(kMomentCorrectionInput, adamw.beta_moment),
                                     std::pair(kSquareCorrectionInput, adamw.beta_square)}) {
      const double correction = 1 / (1 - std::pow(beta, step));
      EXPECT_TRUE((*session)->Feed(name, [=](int64_t) { return correction; }).ok());
    }
    EXPECT_EQ((*session)->Step().ToString(), "OK");
    trained.losses.push_back((*session)->Read("loss").value().At(0));
  }
  for (const std::string& name : (*session)->NamesOf(Role::kParameter)) {
    trained.parameters[name] = (*session)->Read(name).value().ToDoubles();
  }
  return trained;
}

void ExpectSameBits(DType dtype) {
  const Trained alone = TrainOver(Mesh::Create(1, 1).value(), false, dtype);
  EXPECT_LT(alone.losses.back(), alone.losses.front() * 0.9);
  for (int tp : {1, 2, 3, 4, 6, 8}) {
    for (bool sequence_parallel : {false, true}) {
      const Mesh mesh = Mesh::Create(tp, 1).value();
      SCOPED_TRACE(Describe(mesh, sequence_parallel));
      const Trained split = TrainOver(mesh, sequence_parallel, dtype);
      EXPECT_EQ(split.losses, alone.losses);
      for (const auto& [name, numbers] : alone.parameters) {
        EXPECT_EQ(split.parameters.at(name), numbers) << name;
      }
    }
  }
}

TEST(InvariantTransformer, HasTheSameBitsForEveryTp) { ExpectSameBits(DType::kFloat32); }

TEST(InvariantTransformer, HasTheSameBitsForEveryTpInBFloat16) { ExpectSameBits(DType::kBFloat16); }

// The loss that is read is the sum of the ranks' own, in fp64; what is trained is of one order.
TEST(InvariantTransformer, OverDpHasTheSameParameters) {
  const Trained alone = TrainOver(Mesh::Create(1, 1).value(), false, DType::kFloat32);
  const Trained split = TrainOver(Mesh::Create(2, 3).value(), true, DType::kFloat32);
  EXPECT_EQ(split.parameters, alone.parameters);
}

}  // namespace
}  // namespace tp
