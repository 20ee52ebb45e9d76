// Training steps over tensors of up to five dimensions, heads being dimensions of parameters, on
// the CPU backend: every mesh, heads and batches that do not divide, to the bit. Everything is an
// integer small enough to be exact in double, whatever the order of sums. On meshes of three axes
// heads are split over two of them, which may cut other dimensions or the same one.
#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <utility>
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

const Axis kKv = Axis::Named("kv").value();

// How a program lies on the mesh. Between the products x is whole on the axes that cut heads.
struct Layout {
  Placements x;        // [batch, tokens, embedding]; targets and y too
  Placements queries;  // of wq and wo, [groups, of group, head, embedding]
  Placements keys;     // of wk and wv, [groups, head, embedding]
};

Placements Lie(const std::vector<std::pair<Axis, int>>& cuts) {
  Placements placements;
  for (const auto& [axis, dim] : cuts) placements.Set(axis, Shard(dim));
  return placements;
}

const Layout kGroupsOverTp = {Lie({{Axis::kDp, 0}}), Lie({{Axis::kTp, 0}}), Lie({{Axis::kTp, 0}})};
// Fewer groups than ranks: groups on one axis, the heads of a group on the other.
const Layout kHeadsOverTwo = {Lie({{Axis::kDp, 0}}), Lie({{kKv, 0}, {Axis::kTp, 1}}),
                              Lie({{kKv, 0}})};
// The same, and between the products each of both axes cuts a part of x that the other, or dp,
// left.
const Layout kSequenceOverAll = {Lie({{Axis::kDp, 0}, {Axis::kTp, 0}, {kKv, 1}}),
                                 Lie({{kKv, 0}, {Axis::kTp, 1}}), Lie({{kKv, 0}})};
const Layout kBatchOverAll = {Lie({{Axis::kDp, 0}, {kKv, 0}, {Axis::kTp, 0}}),
                              Lie({{kKv, 0}, {Axis::kTp, 1}}), Lie({{kKv, 0}})};
// Groups over both axes.
const Layout kGroupsOverTwo = {Lie({{Axis::kDp, 0}, {Axis::kTp, 1}}),
                               Lie({{kKv, 0}, {Axis::kTp, 0}}), Lie({{kKv, 0}, {Axis::kTp, 0}})};

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

// `id` brought to `to`, an axis at a time. The last step is called `name`.
ValueId BringTo(Program& program, const std::string& name, ValueId id, const Placements& to) {
  std::vector<Axis> steps = StepsBetween(program.value(id).placements, to).value();
  for (size_t i = 0; i < steps.size(); ++i) {
    const std::string own = i + 1 == steps.size() ? name : name + "." + std::string(Name(steps[i]));
    id = AddRedistribute(program, Phase::kForward, own, id, steps[i], to[steps[i]]).value();
  }
  return id;
}

ValueId AddX(Program& program, const Layout& layout) {
  return Input(program, "x", {kBatch, kTokens, kEmbedding}, layout.x, DType::kFloat64);
}

// x as the products read it: cut by dp alone.
ValueId Gathered(Program& program, ValueId x) {
  Placements whole;
  whole.Set(Axis::kDp, program.value(x).placements[Axis::kDp]);
  return BringTo(program, "x.whole", x, whole);
}

// The heads' outputs joined by wo and added to x, its loss, all gradients, and an update.
Program Finish(Program program, const Layout& layout, ValueId x, ValueId heads,
               std::vector<ValueId> parameters) {
  const ValueId wo = Parameter(program, "wo", {kGroups, kOfGroup, kHead, kEmbedding},
                               layout.queries, DType::kFloat64);
  const ValueId targets =
      Input(program, "targets", {kBatch, kTokens, kEmbedding}, layout.x, DType::kFloat64);
  const ValueId part = Product(program, "y.partial", heads, wo, "bqgrd,grde -> bqe");
  const ValueId sum = BringTo(program, "y.sum", part, layout.x);
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
Program TwoProducts(const Layout& layout) {
  Program program;
  const ValueId x = AddX(program, layout);
  const ValueId wq = Parameter(program, "wq", {kGroups, kOfGroup, kHead, kEmbedding},
                               layout.queries, DType::kFloat64);
  const ValueId heads = Product(program, "heads", Gathered(program, x), wq, "bqe,grde -> bqgrd");
  return Finish(std::move(program), layout, x, heads, {wq});
}

// Attention without its softmax: x is read four times, and products have batches.
Program Attention(const Layout& layout) {
  Program program;
  const ValueId x = AddX(program, layout);
  const ValueId wq = Parameter(program, "wq", {kGroups, kOfGroup, kHead, kEmbedding},
                               layout.queries, DType::kFloat64);
  const ValueId wk =
      Parameter(program, "wk", {kGroups, kHead, kEmbedding}, layout.keys, DType::kFloat64);
  const ValueId wv =
      Parameter(program, "wv", {kGroups, kHead, kEmbedding}, layout.keys, DType::kFloat64);
  const ValueId whole = Gathered(program, x);
  const ValueId q = Product(program, "q", whole, wq, "bqe,grde -> bqgrd");
  const ValueId k = Product(program, "k", whole, wk, "bke,gde -> bkgd");
  const ValueId v = Product(program, "v", whole, wv, "bke,gde -> bkgd");
  const ValueId scores = Product(program, "scores", q, k, "bqgrd,bkgd -> bgrqk");
  const ValueId heads = Product(program, "heads", scores, v, "bgrqk,bkgd -> bqgrd");
  return Finish(std::move(program), layout, x, heads, {wq, wk, wv});
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

// Calls check(program, mesh) without and with the passes.
template <typename Check>
void ForEachForm(const Program& program, const std::vector<NamedAxis>& axes, const Check& check) {
  const Mesh mesh = Mesh::Create(axes).value();
  for (bool optimize : {false, true}) {
    testing::Message what;
    for (const NamedAxis& axis : axes) what << axis.name << " " << axis.size << " ";
    SCOPED_TRACE(what << "passes " << optimize);
    Program as_run = program;
    if (optimize) Optimize(as_run, mesh);
    check(as_run, mesh);
    if (testing::Test::HasFatalFailure()) return;
  }
}

template <typename Check>
void ForEachMesh(const Program& program, const Check& check) {
  for (int tp : {1, 2, 3, 4}) {
    for (int dp : {1, 2}) ForEachForm(program, {{"tp", tp}, {"dp", dp}}, check);
  }
}

// Calls make(layout) for each that speaks of three axes, and check for each such mesh.
template <typename Make, typename Check>
void ForEachMeshOfThree(const Make& make, const Check& check) {
  const Layout* layouts[] = {&kHeadsOverTwo, &kSequenceOverAll, &kBatchOverAll, &kGroupsOverTwo};
  for (size_t i = 0; i < std::size(layouts); ++i) {
    SCOPED_TRACE(testing::Message() << "layout " << i);
    const Program program = make(*layouts[i]);
    ForEachForm(program, {{"tp", 2}, {"kv", 2}, {"dp", 2}}, check);
    ForEachForm(program, {{"tp", 3}, {"kv", 2}, {"dp", 1}}, check);
    ForEachForm(program, {{"kv", 3}, {"dp", 2}, {"tp", 1}}, check);
    ForEachForm(program, {{"dp", 1}}, check);
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
  const auto check = [&](const Program& program, const Mesh& mesh) {
    const std::string dx = program.value(program.results().back()).name;
    const TrainResult result = TrainOn(mesh, program, /*steps=*/2);
    EXPECT_EQ(result.losses, plain.losses);
    EXPECT_EQ(result.replica_defects, std::vector<std::string>());
    ExpectIs(result.first, "y", first.y);
    ExpectIs(result.first, dx, first.dx);
    ExpectIs(result.first, "dwq", first.dwq);
    ExpectIs(result.first, "dwo", first.dwo);
    ExpectIs(result.last, "wq", plain.wq);
    ExpectIs(result.last, "wo", plain.wo);
  };
  ForEachMesh(TwoProducts(kGroupsOverTp), check);
  ForEachMeshOfThree(TwoProducts, check);
}

// That of the ops of the program as it lies on one rank. Names may differ.
TEST(Heads, AttentionStepsAsItsOpsMean) {
  const Program meant = Attention(kGroupsOverTp);
  const auto truth = Evaluate(meant, kSources);
  const auto check = [&](const Program& program, const Mesh& mesh) {
    const TrainResult result = TrainOn(mesh, program, /*steps=*/1);
    EXPECT_EQ(result.replica_defects, std::vector<std::string>());
    for (size_t i = 0; i < meant.results().size(); ++i) {
      const ValueId id = meant.results()[i];
      if (meant.value(id).shape.empty()) {
        EXPECT_EQ(result.losses, truth[id]);
      } else {
        ExpectIs(result.first, program.value(program.results()[i]).name, truth[id]);
      }
    }
    for (const Op& op : meant.ops()) {
      if (op.def->updates == 0) continue;
      ExpectIs(result.last, meant.value(op.inputs[0]).name, truth[op.outputs[0]]);
    }
  };
  ForEachMesh(meant, check);
  ForEachMeshOfThree(Attention, check);
}

}  // namespace
}  // namespace tp
