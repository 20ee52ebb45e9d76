// What is predicted today, to the picosecond: a change of it is seen here, and must be meant.
//
// golden.txt has a line for each prediction: what of, the step in picoseconds, the longest path of
// its closed form, and a hash of when each op begins and ends. Where a prediction is to change,
// replace the file by what the failure prints, and say in the commit why.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "backends/predict/collective_timer.h"
#include "backends/predict/cost_model.h"
#include "backends/predict/world.h"
#include "sim/topology/machine.h"
#include "tp/core/mesh.h"
#include "tp/model/linear_step.h"
#include "tp/model/presets.h"
#include "tp/model/transformer.h"

namespace tp::predict {
namespace {

// FNV-1a of 64 bits (Fowler, Noll & Vo).
class Hash {
 public:
  void Add(int64_t value) {
    for (int byte = 0; byte < 8; ++byte) {
      hash_ = (hash_ ^ ((static_cast<uint64_t>(value) >> (8 * byte)) & 255)) * 1099511628211u;
    }
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 14695981039346656037u;
};

// Of all ranks where none stands for another, and else of the first.
std::string Line(const std::string& name, const Program& program, const Mesh& mesh,
                 const sim::Machine& machine, bool fold) {
  const CostModel model(machine);
  CollectiveTimer timer(model, sim::Algorithm::kAuto);
  const Prediction prediction =
      Predict(program, mesh, model, timer, {.lower = {}, .fold = fold}).value();
  Hash hash;
  for (const PredictedRank& rank : prediction.ranks) {
    if (fold && rank.rank != 0) continue;
    for (const OpTimes& op : rank.times) {
      hash.Add(op.begin);
      hash.Add(op.end);
    }
  }
  return fmt::format("{} | {} ps | closed {} ps | {:016x}\n", name,
                     std::llround(prediction.seconds * 1e12),
                     std::llround(prediction.closed_seconds * 1e12), hash.value());
}

std::string LinearLine(const std::string& preset, LinearMode mode, int tp, int dp) {
  const Mesh mesh = Mesh::Create(tp, dp).value();
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = 4099;  // no part is like another
  options.in_features = 4096;
  options.out_features = 5001;
  return Line(fmt::format("{} linear {} tp {} dp {}", preset, Name(mode), tp, dp),
              MakeLinearStep(options, mesh).value(), mesh, sim::PresetMachine(preset).value(),
              /*fold=*/false);
}

std::string ModelLine(const std::string& name, const sim::Machine& machine,
                      const std::string& model, const Mesh& mesh, bool sequence_parallel,
                      bool fold) {
  TransformerConfig config = Preset(model).value();
  config.layers = 2;
  TransformerStepOptions options;
  options.batch = mesh.Size(Axis::kDp);
  options.sequence = 2048;
  options.dtype = DType::kBFloat16;
  options.sequence_parallel = sequence_parallel;
  options.recompute = !sequence_parallel;
  return Line(
      fmt::format("{} {} of 2 layers tp {} dp {}{}", name, model, mesh.Size(Axis::kTp),
                  mesh.Size(Axis::kDp), sequence_parallel ? " sequence-parallel" : " recompute"),
      MakeTransformerStep(config, options, mesh).value(), mesh, machine, fold);
}

std::string Lines() {
  std::string lines = LinearLine("h100x8-ib400", LinearMode::kRow, 4, 2) +
                      LinearLine("a100x8-ib200", LinearMode::kColumn, 8, 3);
  for (const std::string& preset : sim::PresetNames()) {
    const sim::Machine machine = sim::PresetMachine(preset).value();
    lines += ModelLine(preset, machine, "llama3-70b", Mesh::Create(8, 128).value(), true, true) +
             ModelLine(preset, machine, "llama3-8b", Mesh::Create(4, 4).value(), false, false);
  }
  sim::Machine uneven = sim::PresetMachine("h100x8-ib400").value();
  uneven.slower[5] = 1.3;
  uneven.slow_pairs.push_back({3, 4, 0.25});
  uneven.between.per = sim::BetweenSpec::Per::kNode;
  lines += ModelLine("h100x8-ib400 with a straggler and a slow link", uneven, "llama3-8b",
                     Mesh::Create(8, 2).value(), true, false);
  return lines;
}

TEST(GoldenTest, PredictsWhatItDid) {
  std::stringstream golden;
  golden << std::ifstream("tests/backends/predict/golden.txt").rdbuf();
  const std::string lines = Lines();
  EXPECT_EQ(golden.str(), lines) << "what is predicted has changed; now it is\n" << lines;
}

}  // namespace
}  // namespace tp::predict
