// Training steps over tensors of up to five dimensions, heads being dimensions of parameters, on
// the CPU backend: every mesh, heads and batches that do not divide, to the bit. Everything is an
// integer small enough to be exact in double, whatever the order of sums.
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/program/evaluate.h"
#include "tests/program/programs.h"
#include "tools/measure/train.h"
#include "tp/autodiff/backward.h"
#include "tp/ops/ops.h"
#include "tp/passes/passes.h"

namespace tp {
namespace {

constexpr int64_t kBatch = 3, kTokens = 2, kGroups = 5, kOfGroup = 2, kHead = 2, kEmbedding = 3;

// -1, 0 and 1.
Source Digits(int64_t salt) {
  return [salt](int64_t i) { return static_cast<double>((i * i + 2 * i + salt) % 5 % 3 - 1); };
}

const Sources kSources = {{"x", Digits(1)},  {"targets", Digits(2)}, {"wq", Digits(3)},
                          {"wk", Digits(4)}, {"wv", Digits(5)},      {"wo", Digits(6)}};

ValueId Product(Program& program, const std::string& name, ValueId a, ValueId b,
                const std::string& letters) {
  return AddOp(program, Phase::kForward, name, kMatMul, {a, b}, {{"letters", letters}}).value();
}

// The heads' outputs joined by wo and added to x, its loss, all gradients, and an update.
Program Finish(Program program, ValueId x, ValueId heads, std::vector<ValueId> parameters) {
  const Placements over_dp(Replicate(), Shard(0));
  const ValueId wo = Parameter(program, "wo", {kGroups, kOfGroup, kHead, kEmbedding},
                               On(Axis::kTp, Shard(0)), DType::kFloat64);
  const ValueId targets =
      Input(program, "targets", {kBatch, kTokens, kEmbedding}, over_dp, DType::kFloat64);
  const ValueId part = Product(program, "y.partial", heads, wo, "bqgrd,grde -> bqe");
  const ValueId sum =
      AddRedistribute(program, Phase::kForward, "y.sum", part, Axis::kTp, Replicate()).value();
  const ValueId y = AddOp(program, Phase::kForward, "y", kAdd, {sum, x}).value();
  const ValueId loss = AddMseLoss(program, Phase::kForward, "loss", y, targets, 0.5).value();
  parameters.push_back(wo);
  std::vector<ValueId> wrt = parameters;
  wrt.push_back(x);
  const std::vector<ValueId> gradients = AddBackward(program, loss, wrt).value();
  for (ValueId id : {loss, y}) program.AddResult(id);
  for (ValueId id : gradients) program.AddResult(id);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string name = program.value(parameters[i]).name + ".updated";
    EXPECT_TRUE(
        AddSgdUpdate(program, Phase::kOptimizer, name, parameters[i], gradients[i], 1).ok());
  }
  EXPECT_EQ(Verify(program).ToString(), "OK");
  return program;
}

// y = (x wq) wo + x, by heads.
Program TwoProducts() {
  Program program;
  const ValueId x = Input(program, "x", {kBatch, kTokens, kEmbedding},
                          Placements(Replicate(), Shard(0)), DType::kFloat64);
  const ValueId wq = Parameter(program, "wq", {kGroups, kOfGroup, kHead, kEmbedding},
                               On(Axis::kTp, Shard(0)), DType::kFloat64);
  const ValueId heads = Product(program, "heads", x, wq, "bqe,grde -> bqgrd");
  return Finish(std::move(program), x, heads, {wq});
}

// Attention without its softmax: x is read four times, and products have batches.
Program Attention() {
  Program program;
  const Placements on_groups = On(Axis::kTp, Shard(0));
  const ValueId x = Input(program, "x", {kBatch, kTokens, kEmbedding},
                          Placements(Replicate(), Shard(0)), DType::kFloat64);
  const ValueId wq =
      Parameter(program, "wq", {kGroups, kOfGroup, kHead, kEmbedding}, on_groups, DType::kFloat64);
  const ValueId wk =
      Parameter(program, "wk", {kGroups, kHead, kEmbedding}, on_groups, DType::kFloat64);
  const ValueId wv =
      Parameter(program, "wv", {kGroups, kHead, kEmbedding}, on_groups, DType::kFloat64);
  const ValueId q = Product(program, "q", x, wq, "bqe,grde -> bqgrd");
  const ValueId k = Product(program, "k", x, wk, "bke,gde -> bkgd");
  const ValueId v = Product(program, "v", x, wv, "bke,gde -> bkgd");
  const ValueId scores = Product(program, "scores", q, k, "bqgrd,bkgd -> bgrqk");
  const ValueId heads = Product(program, "heads", scores, v, "bgrqk,bkgd -> bqgrd");
  return Finish(std::move(program), x, heads, {wq, wk, wv});
}

TrainResult TrainOn(const Mesh& mesh, const Program& program, int steps) {
  cpu::CpuBackendOptions options;
  const auto backend = cpu::MakeCpuBackend(options);
  TrainOptions train;
  train.warmup = 0;
  train.steps = steps;
  const std::map<std::string, ElementSource> sources(kSources.begin(), kSources.end());
  return Train(*backend, mesh, program, sources, train).value();
}

// Calls check(program, mesh) for each mesh, without and with the passes.
template <typename Check>
void ForEachMesh(const Program& program, const Check& check) {
  for (int tp : {1, 2, 3, 4}) {
    for (int dp : {1, 2}) {
      for (bool optimize : {false, true}) {
        SCOPED_TRACE(testing::Message() << "tp " << tp << " dp " << dp << " passes " << optimize);
        const Mesh mesh = Mesh::Create(tp, dp).value();
        Program as_run = program;
        if (optimize) Optimize(as_run, mesh);
        check(as_run, mesh);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

void ExpectIs(const std::map<std::string, HostTensor>& actual, const std::string& name,
              const std::vector<double>& expected) {
  ASSERT_TRUE(actual.contains(name)) << name;
  EXPECT_EQ(actual.at(name).ToDoubles(), expected) << name;
}

// Two steps of TwoProducts as a person would write them.
struct Plain {
  using Numbers = std::vector<double>;
  static constexpr int64_t kRows = kBatch * kTokens, kHeads = kGroups * kOfGroup * kHead;

  static Numbers Fed(const std::string& name, int64_t size) {
    Numbers numbers;
    for (int64_t i = 0; i < size; ++i) numbers.push_back(kSources.at(name)(i));
    return numbers;
  }

  void Step() {
    Numbers heads(kRows * kHeads), dheads(kRows * kHeads);
    y = x;
    dy = dx = Numbers(kRows * kEmbedding);
    dwq = dwo = Numbers(kHeads * kEmbedding);
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t h = 0; h < kHeads; ++h) {
        for (int64_t e = 0; e < kEmbedding; ++e) {
          heads[i * kHeads + h] += x[i * kEmbedding + e] * wq[h * kEmbedding + e];
        }
        for (int64_t e = 0; e < kEmbedding; ++e) {
          y[i * kEmbedding + e] += heads[i * kHeads + h] * wo[h * kEmbedding + e];
        }
      }
    }
    double loss = 0;
    for (int64_t i = 0; i < kRows * kEmbedding; ++i) {
      dy[i] = y[i] - targets[i];
      loss += dy[i] * dy[i] / 2;
    }
    losses.push_back(loss);
    dx = dy;
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t h = 0; h < kHeads; ++h) {
        for (int64_t e = 0; e < kEmbedding; ++e) {
          dheads[i * kHeads + h] += dy[i * kEmbedding + e] * wo[h * kEmbedding + e];
          dwo[h * kEmbedding + e] += heads[i * kHeads + h] * dy[i * kEmbedding + e];
        }
        for (int64_t e = 0; e < kEmbedding; ++e) {
          dx[i * kEmbedding + e] += dheads[i * kHeads + h] * wq[h * kEmbedding + e];
          dwq[h * kEmbedding + e] += dheads[i * kHeads + h] * x[i * kEmbedding + e];
        }
      }
    }
    for (int64_t i = 0; i < kHeads * kEmbedding; ++i) {
      wq[i] -= dwq[i];
      wo[i] -= dwo[i];
    }
  }

  Numbers x = Fed("x", kRows*kEmbedding), targets = Fed("targets", kRows*kEmbedding);
  Numbers wq = Fed("wq", kHeads*kEmbedding), wo = Fed("wo", kHeads*kEmbedding);
  Numbers y, dy, dx, dwq, dwo, losses;
};

TEST(Heads, TrainAsPlainLoopsDo) {
  Plain plain;
  plain.Step();
  const Plain first = plain;
  plain.Step();
  for (double loss : plain.losses) ASSERT_LT(loss, 0x1p52);  // what is smaller was exact
  const Program meant = TwoProducts();
  const std::string dx = meant.value(meant.results().back()).name;
  ForEachMesh(meant, [&](const Program& program, const Mesh& mesh) {
    const TrainResult result = TrainOn(mesh, program, /*steps=*/2);
    EXPECT_EQ(result.losses, plain.losses);
    EXPECT_EQ(result.replica_defects, std::vector<std::string>());
    ExpectIs(result.first, "y", first.y);
    ExpectIs(result.first, dx, first.dx);
    ExpectIs(result.first, "dwq", first.dwq);
    ExpectIs(result.first, "dwo", first.dwo);
    ExpectIs(result.last, "wq", plain.wq);
    ExpectIs(result.last, "wo", plain.wo);
  });
}

TEST(Heads, AttentionStepsAsItsOpsMean) {
  const Program meant = Attention();
  const auto truth = Evaluate(meant, kSources);
  ForEachMesh(meant, [&](const Program& program, const Mesh& mesh) {
    const TrainResult result = TrainOn(mesh, program, /*steps=*/1);
    EXPECT_EQ(result.replica_defects, std::vector<std::string>());
    for (ValueId id : meant.results()) {
      const Value& value = meant.value(id);
      if (value.shape.empty()) {
        EXPECT_EQ(result.losses, truth[id]);
      } else {
        ExpectIs(result.first, value.name, truth[id]);
      }
    }
    for (const Op& op : meant.ops()) {
      if (op.def->updates == 0) continue;
      ExpectIs(result.last, meant.value(op.inputs[0]).name, truth[op.outputs[0]]);
    }
  });
}

}  // namespace
}  // namespace tp
