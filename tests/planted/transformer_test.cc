// Bugs of transformers that real systems shipped, planted one at a time in a step on the CPU
// backend: each is caught op by op, at the op that makes it, and named.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "backends/cpu/functions.h"
#include "tests/model/small_transformer.h"
#include "tests/planted/edits.h"
#include "tests/planted/plant.h"
#include "tests/program/programs.h"
#include "tp/autodiff/backward.h"
#include "tp/ops/builder.h"
#include "tp/ops/ops.h"
#include "tp/ops/rope.h"
#include "tp/passes/recompute.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp::verify {
namespace {

using planted::Hooks;

struct Bug {
  std::string name;
  int tp = 3;
  int dp = 1;
  DType dtype = DType::kFloat32;
  std::function<void(TransformerConfig&, TransformerStepOptions&)> model = nullptr;
  std::function<void(Schedule&)> edit = nullptr;
  std::string first;  // what the first wrong value's name begins with
  std::string cause;  // a part of the words
};

// The first op of an action that computes a value whose name begins so.
ScheduledOp& OpOf(Schedule& schedule, std::string_view action, const std::string& name) {
  const auto op = std::find_if(schedule.ops.begin(), schedule.ops.end(), [&](const auto& o) {
    return Name(o.action) == action && o.name.starts_with(name);
  });
  EXPECT_NE(op, schedule.ops.end()) << action << " " << name;
  return *op;
}

// The collective hands on what it was given.
void NotReduced(Schedule& schedule, const std::string& name) {
  ScheduledOp& op = OpOf(schedule, "collective", name);
  op.action = Action::kCopy;
  op.reads = {op.send};
  op.writes = {op.receive};
  planted::OrderAgain(schedule);
}

// A read of the op comes from a copy with its dimension `dim` turned by one.
void Turn(Schedule& schedule, std::string_view action, const std::string& name, size_t read,
          int dim) {
  const ScheduledOp op = OpOf(schedule, action, name);
  const View from = op.reads[read];
  const auto buffer = static_cast<BufferId>(schedule.buffers.size());
  const View to = PackedView(buffer, 0, SizesOf(from), Order::Own(from.rank()));
  schedule.buffers.push_back({name + ".turned", schedule.buffers[from.buffer].dtype, to.size()});
  const int64_t size = from.dims[dim].size;
  std::vector<ScheduledOp> copies;
  for (int64_t i = 0; i < size; ++i) {
    ScheduledOp copy;
    copy.action = Action::kCopy;
    copy.name = op.name;
    copy.phase = op.phase;
    copy.reads = {from.Sub(dim, (i + 1) % size, 1)};
    copy.writes = {to.Sub(dim, i, 1)};
    copies.push_back(copy);
  }
  const int index = planted::IndexOf(schedule, op.action, op.name);
  schedule.ops[index].reads[read] = to;
  schedule.ops.insert(schedule.ops.begin() + index, copies.begin(), copies.end());
  planted::OrderAgain(schedule);
}

// Where a rank has fewer than `size` along `dim` of what the op reads, it reads zeros behind them.
void Pad(Schedule& schedule, std::string_view action, const std::string& name, int dim,
         int64_t size) {
  const ScheduledOp op = OpOf(schedule, action, name);
  const View from = op.reads[0];
  const int64_t own = from.dims[dim].size;
  if (own == size) return;
  std::vector<int64_t> sizes = SizesOf(from);
  sizes[static_cast<size_t>(dim)] = size;
  const auto buffer = static_cast<BufferId>(schedule.buffers.size());
  const View to = PackedView(buffer, 0, sizes, Order::Own(from.rank()));
  schedule.buffers.push_back({name + ".padded", schedule.buffers[from.buffer].dtype, to.size()});
  ScheduledOp copy;
  copy.action = Action::kCopy;
  copy.name = op.name;
  copy.phase = op.phase;
  copy.reads = {from};
  copy.writes = {to.Sub(dim, 0, own)};
  std::vector<ScheduledOp> before = {copy};
  for (int64_t i = own; i < size; ++i) {
    const View place = to.Sub(dim, i, 1);
    copy.reads = {from.Sub(dim, 0, 1)};
    copy.writes = {place};
    ScheduledOp clear = copy;
    clear.action = kSgdUpdate.action();  // place - place
    clear.reads = {place, place};
    clear.attributes = {{"rate", 1.0}};
    before.insert(before.end(), {copy, clear});
  }
  const int index = planted::IndexOf(schedule, op.action, op.name);
  schedule.ops[index].reads[0] = to;
  schedule.ops.insert(schedule.ops.begin() + index, before.begin(), before.end());
  planted::OrderAgain(schedule);
}

// The op reads `times` its last operand.
void ReadTimes(Schedule& schedule, std::string_view action, const std::string& name, int times) {
  const ScheduledOp op = OpOf(schedule, action, name);
  const View from = op.reads.back();
  const auto buffer = static_cast<BufferId>(schedule.buffers.size());
  const View to = PackedView(buffer, 0, SizesOf(from), Order::Own(from.rank()));
  schedule.buffers.push_back({name + ".often", schedule.buffers[from.buffer].dtype, to.size()});
  ScheduledOp copy;
  copy.action = Action::kCopy;
  copy.name = op.name;
  copy.phase = op.phase;
  copy.reads = {from};
  copy.writes = {to};
  ScheduledOp scale = copy;
  scale.action = kSgdUpdate.action();  // to - (1 - times) to
  scale.reads = {to, to};
  scale.attributes = {{"rate", 1.0 - times}};
  const int index = planted::IndexOf(schedule, op.action, op.name);
  schedule.ops[index].reads.back() = to;
  schedule.ops.insert(schedule.ops.begin() + index, {copy, scale});
  planted::OrderAgain(schedule);
}

// The op reads what the collective is given, before it runs.
void ReadBefore(Schedule& schedule, const std::string& collective, std::string_view action,
                const std::string& name) {
  ScheduledOp reader = OpOf(schedule, action, name);
  const ScheduledOp sum = OpOf(schedule, "collective", collective);
  reader.reads[0] = sum.send;
  schedule.ops.erase(schedule.ops.begin() + planted::IndexOf(schedule, reader.action, reader.name));
  schedule.ops.insert(schedule.ops.begin() + planted::IndexOf(schedule, sum.action, sum.name),
                      reader);
  planted::OrderAgain(schedule);
}

// One head of attention's output, on the second rank alone.
void ScaleHead(Schedule& schedule) {
  if (schedule.rank != 1) return;
  const ScheduledOp op = OpOf(schedule, "attention", "layers.0.attention.heads");
  const View head = op.writes[0].Sub(3, 1, 1);
  planted::ScaleAfter(schedule, planted::IndexOf(schedule, op.action, op.name), head, 1 + 0x1p-8);
}

void Clip(TransformerConfig&, TransformerStepOptions& options) { options.adamw.max_norm = 0.5; }

std::vector<Bug> Bugs() {
  return {
      {.name = "a bias is added by each rank behind a reduce-scatter",
       .model = [](TransformerConfig& config, TransformerStepOptions&) { config.bias = true; },
       .edit = [](Schedule& s) { ReadTimes(s, "add_to_tokens", "layers.0.mlp.down.biased", 3); },
       .first = "layers.0.mlp.down.biased",
       .cause = "'layers.0.mlp.down.bias' is added on every one of the 3 tp ranks"},
      {.name = "the norm of all gradients counts replicas on each rank",
       .model = Clip,
       .edit =
           [](Schedule& s) {
             const std::string squares = "dlayers.0.attention.norm.gain.squares";
             planted::AllReduceAfter(s, Mesh::Create(3, 1).value(), Axis::kTp,
                                     OpOf(s, "square_sum", squares).action, squares);
           },
       .first = "dlayers.0.attention.norm.gain.squares",
       .cause = "3 times too large: counted by each rank on tp"},
      {.name = "the norm of all gradients leaves out the other ranks' shards",
       .model = Clip,
       .edit = [](Schedule& s) { NotReduced(s, "gradients.squares.0"); },
       .first = "gradients.squares.0",
       .cause = "share of place 0 on tp alone: the sum was not taken"},
      {.name = "gradients are clipped before they are summed over ranks",
       .tp = 1,
       .dp = 2,
       .model = Clip,
       .edit = [](Schedule& s) { ReadBefore(s, "dnorm.gain", "square_sum", "dnorm.gain.squares"); },
       .first = "dnorm.gain.squares",
       .cause = "in place of 'dnorm.gain': left Partial"},
      {.name = "a norm's gain has a gradient left partial under sequence parallelism",
       .edit = [](Schedule& s) { NotReduced(s, "dlayers.0.attention.norm.gain"); },
       .first = "dlayers.0.attention.norm.gain",
       .cause = "share of place 0 on tp alone: the sum was not taken"},
      {.name = "key and value heads are those of another group",
       .tp = 1,
       .dp = 2,
       .edit =
           [](Schedule& s) {
             Turn(s, "attention", "layers.0.attention.heads", 1, 2);
             Turn(s, "attention", "layers.0.attention.heads", 2, 2);
           },
       .first = "layers.0.attention.heads",
       .cause =
           "'layers.0.attention.key.turned', 'layers.0.attention.value' read at the wrong 'g'"},
      {.name = "a head of attention is off by the factor 1 + 2^-8",
       .edit = ScaleHead,
       .first = "layers.0.attention.heads",
       .cause = "all that is wrong has index 1 in dimension 3"},
      {.name = "a head of attention is off by the factor 1 + 2^-8, in bf16",
       .dtype = DType::kBFloat16,
       .edit = ScaleHead,
       .first = "layers.0.attention.heads",
       .cause = "all that is wrong has index 1 in dimension 3"},
      {.name = "the mask of ids is off by one where two ranks meet",
       .edit =
           [](Schedule& s) {
             for (LetterPart& part : OpOf(s, "pick", "picked.part").letters) {
               if (part.letter == 'v' && part.begin == 0) --part.length;
             }
           },
       .first = "picked",
       .cause = "the mask of ids is off by one there"},
      {.name = "a vocabulary is padded to equal shards, and the padding is trained",
       .edit = [](Schedule& s) { Pad(s, "exp_sum", "logits.sum.part", 2, 5); },
       .first = "logits.sum",
       .cause =
           "the parts of 'v' were filled up with zeros to one size on tp, and the zeros counted"},
      {.name = "the maximum is not taken over ranks before the exponentials",
       .edit = [](Schedule& s) { NotReduced(s, "logits.max"); },
       .first = "logits.max",
       .cause = "the maximum was not taken"},
      {.name = "the loss is divided by the tokens of a rank",
       .tp = 3,
       .dp = 2,
       .edit =
           [](Schedule& s) {
             OpOf(s, "cross_entropy", "loss").attributes = {{"scale", 2.0}};
           },
       .first = "loss",
       .cause = "2 times too large: counted by each rank on dp"},
      {.name = "the two gradients of a tied embedding meet only once",
       .model = [](TransformerConfig& config,
                   TransformerStepOptions&) { config.tied_embeddings = true; },
       .edit =
           [](Schedule& s) {
             ScheduledOp& product = OpOf(s, "gemm", "dembedding.weight");
             ASSERT_EQ(product.reads.size(), 3u);  // to which the other gradient is added
             product.reads.pop_back();
           },
       .first = "dembedding.weight",
       .cause = "was left out of the sum"},
      {.name = "micro-batches are averaged twice",
       .model =
           [](TransformerConfig&, TransformerStepOptions& options) {
             options.batch = 4;
             options.micro_batches = 2;
           },
       .edit =
           [](Schedule& s) {
             const ScheduledOp& add = OpOf(s, "add", "dnorm.gain");
             planted::ScaleAfter(s, planted::IndexOf(s, add.action, add.name), add.writes[0], 0.5);
           },
       .first = "dnorm.gain",
       .cause = "off by the factor 0.5"},
      {.name = "weights of norms decay",
       .edit =
           [](Schedule& s) {
             for (ScheduledOp& op : s.ops) {
               if (op.name != "norm.gain.updated" || !op.attributes.Has("decay")) continue;
               op.attributes.Set("decay", AdamWOptions().decay);
             }
           },
       .first = "norm.gain.updated",
       .cause = "decay=0.1, as '"},
  };
}

OpByOpReport Judge(const Program& program, const Mesh& mesh, const ElementSources& sources,
                   const std::function<void(Schedule&)>& edit) {
  Hooks hooks;
  hooks.schedule = [&](Schedule& schedule, const Mesh&) {
    if (edit) edit(schedule);
  };
  planted::PlantedBackend backend(hooks, mesh, sources, {});
  StatusOr<ObservedValues> observed = Observe(backend, mesh, program, sources, {});
  EXPECT_EQ(observed.status().ToString(), "OK");
  OpByOpOptions options;
  options.arithmetic.functions = cpu::ErrorsOfFunctions();
  return VerifyOpByOp(program, mesh, *observed, options).value();
}

void ExpectNamed(const OpByOpReport& report, const std::string& first, const std::string& cause) {
  ASSERT_NE(report.first_failure(), nullptr);
  EXPECT_TRUE(report.first_failure()->name.starts_with(first)) << ToString(report);
  EXPECT_NE(ToString(report).find(cause), std::string::npos) << ToString(report);
}

TEST(TransformerBugs, EachIsNamed) {
  for (const Bug& bug : Bugs()) {
    SCOPED_TRACE(bug.name);
    const Mesh mesh = Mesh::Create(bug.tp, bug.dp).value();
    TransformerConfig config = SmallTransformer();
    TransformerStepOptions options = SmallStep();
    options.sequence_parallel = bug.tp > 1;
    options.dtype = bug.dtype;
    if (bug.model) bug.model(config, options);
    const Program program = MakeTransformerStep(config, options, mesh).value();
    ElementSources sources = SourcesOf(program, config);
    for (const std::string name : {"tokens", "targets", "weights"}) {
      sources["micro.1." + name] = sources.at(name);
    }
    for (auto& [name, source] : sources) {
      if (name.ends_with(".bias")) source = [](int64_t i) { return 0.25 * (i % 5 + 1); };
    }
    EXPECT_EQ(Judge(program, mesh, sources, nullptr).first_failure(), nullptr);
    ExpectNamed(Judge(program, mesh, sources, bug.edit), bug.first, bug.cause);
  }
}

// Queries are turned after they were gathered; here they are turned before.
TEST(TransformerBugs, PositionsThatBeginAnewOnEachShardAreNamed) {
  const Mesh mesh = Mesh::Create(3, 1).value();
  Program program;
  const ValueId x = Input(program, "x", {2, 7, 3, 4}, On(Axis::kTp, Shard(1)));
  program.AddResult(
      AddOp(program, Phase::kForward, "turned", kRope, {x}, RopeAttributes({})).value());
  const ElementSources sources = {
      {"x", [](int64_t i) { return static_cast<double>(i * 7 % 13 - 6); }}};
  const OpByOpReport report = Judge(program, mesh, sources, [](Schedule& s) {
    for (LetterPart& part : OpOf(s, "rope", "turned").letters) {
      if (part.letter == 's') part.begin = 0;
    }
  });
  ExpectNamed(report, "turned", "places in 's' of");
}

ElementSource Numbers(int64_t seed) {
  return [seed](int64_t i) { return static_cast<double>(i * seed % 13 - 6) / 8; };
}

TEST(TransformerBugs, DropoutThatIsAlikeOnShardsIsNamed) {
  const Mesh mesh = Mesh::Create(3, 1).value();
  Program program;
  const ValueId x = Input(program, "x", {2, 7, 3, 4}, On(Axis::kTp, Shard(1)));
  const ValueId seed = *AddInput(program, Value{"seed", {}, DType::kInt32, {}});
  program.AddResult(AddOp(program, Phase::kForward, "dropped", kDropout, {x, seed},
                          {{"rate", 0.5}, {"stream", int64_t{3}}})
                        .value());
  const ElementSources sources = {{"x", Numbers(7)}, {"seed", [](int64_t) { return 9.0; }}};
  EXPECT_EQ(Judge(program, mesh, sources, nullptr).first_failure(), nullptr);
  const OpByOpReport report = Judge(program, mesh, sources, [](Schedule& s) {
    for (LetterPart& part : OpOf(s, "dropout", "dropped").letters) {
      if (part.length < part.whole) part.begin = 0;
    }
  });
  ExpectNamed(report, "dropped", "places in '");
}

// Two layers; what the first one dropped is dropped otherwise when it is made again.
TEST(TransformerBugs, RecomputationWithAnotherMaskIsNamed) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  Program program;
  Builder b(program);
  ValueId x = b.Input("x", {6, 5}, DType::kFloat32);
  const ValueId targets = b.Input("targets", {6, 5}, DType::kFloat32);
  const ValueId seed = b.Input("seed", {}, DType::kInt32);
  std::vector<ValueId> weights;
  ElementSources sources = {
      {"x", Numbers(7)}, {"targets", Numbers(5)}, {"seed", [](int64_t) { return 9.0; }}};
  for (int64_t i = 0; i < 2; ++i) {
    const Builder::Scope scope = b.In("layers", i);
    weights.push_back(b.Parameter("up", {5, 8}, DType::kFloat32));
    weights.push_back(b.Parameter("down", {8, 5}, DType::kFloat32));
    const ValueId dropped = b.Op("dropped", kDropout, {b.MatMul("wide", x, weights[2 * i]), seed},
                                 {{"rate", 0.5}, {"stream", i}});
    x = b.MatMul("y", dropped, weights[2 * i + 1]);
    for (const char* name : {"up", "down"}) {
      sources["layers." + std::to_string(i) + "." + name] = Numbers(3 + i);
    }
  }
  const ValueId loss = b.MseLoss("loss", x, targets, 1.0);
  ASSERT_EQ(b.status().ToString(), "OK");
  const std::vector<ValueId> gradients = AddBackward(program, loss, weights).value();
  program.AddResult(loss);
  for (ValueId gradient : gradients) program.AddResult(gradient);
  ASSERT_EQ(Recompute(program, "layers").ToString(), "OK");
  EXPECT_EQ(Judge(program, mesh, sources, nullptr).first_failure(), nullptr);
  const OpByOpReport report = Judge(program, mesh, sources, [](Schedule& s) {
    OpOf(s, "dropout", "again.layers.0.dropped").attributes.Set("stream", int64_t{1});
  });
  ExpectNamed(report, "again.layers.0.dropped", "stream=1, as '");
}

}  // namespace
}  // namespace tp::verify
