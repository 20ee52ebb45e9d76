#include "tests/planted/bugs.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "tests/planted/edits.h"
#include "tests/planted/faulty_endpoint.h"
#include "tp/core/random.h"
#include "tp/core/shard_geometry.h"

namespace tp::planted {
namespace {

using verify::Quantity;

const Setting kRow{.mode = LinearMode::kRow};
const Setting kColumn{.mode = LinearMode::kColumn};
// Loss and gradient of the whole Y, so that a wrong Y is passed on.
const Setting kWholeRow{.mode = LinearMode::kRow, .optimize = false};
// Bugs that need two axes; sizes divide, or ranks would disagree about counts and be told so.
const Setting kRowOnGrid{
    .mode = LinearMode::kRow, .tp = 2, .dp = 2, .tokens = 6, .in_features = 18, .out_features = 10};
const Setting kColumnOnGrid{.mode = LinearMode::kColumn,
                            .tp = 2,
                            .dp = 2,
                            .tokens = 6,
                            .in_features = 18,
                            .out_features = 10};
const Setting kUnevenGrid{.mode = LinearMode::kColumn, .tp = 3, .dp = 2};

// By every lane that compares numbers with the reference, and by `others`.
std::map<Lane, std::string> ByNumbers(std::map<Lane, std::string> others = {}) {
  for (Lane lane : {Lane::kExact, Lane::kBounded, Lane::kBoundedBf16}) others[lane];
  return others;
}

Value& ValueNamed(Program& program, std::string_view name) {
  return program.mutable_value(program.Find(name).value());
}

Op& FirstOf(Program& program, OpKind kind) {
  for (Op& op : program.mutable_ops()) {
    if (op.kind == kind) return op;
  }
  LOG(FATAL) << "the program has no " << Name(kind);
}

// Takes the redistribute that yields `name` out; who read its result reads what it was made of.
void DropRedistribute(Program& program, std::string_view name) {
  const ValueId out = program.Find(name).value();
  const ValueId in = program.ops()[program.DefinitionOf(out)].inputs[0];
  std::vector<Op> ops;
  for (Op op : program.ops()) {
    if (op.outputs[0] == out) continue;
    for (ValueId& id : op.inputs) id = id == out ? in : id;
    ops.push_back(std::move(op));
  }
  program.ReplaceOps(std::move(ops));
}

// Declares that `name` lies so on an axis, and leaves everything else as it was.
std::function<void(Program&)> Declare(std::string name, Axis axis, Placement placement) {
  return [=](Program& program) { ValueNamed(program, name).placements[axis] = placement; };
}

std::function<void(Program&)> ReadWithout(std::string name) {
  return [=](Program& program) { DropRedistribute(program, name); };
}

Hooks OnSchedule(std::function<void(Schedule&, const Mesh&)> edit) {
  Hooks hooks;
  hooks.schedule = std::move(edit);
  return hooks;
}

using Feed = std::function<void(int rank, const Mesh&, Binding&, ElementSource&)>;
Hooks OnFeed(std::string name, Feed feed) {
  Hooks hooks;
  hooks.feed = [name = std::move(name), feed = std::move(feed)](
                   int rank, const Mesh& mesh, Binding& binding, ElementSource& source) {
    if (binding.name == name) feed(rank, mesh, binding, source);
  };
  return hooks;
}

Hooks OnEndpoint(sim::Fabric::WrapEndpoint wrap) {
  Hooks hooks;
  hooks.endpoint = std::move(wrap);
  return hooks;
}

void AddGradientBugs(std::vector<Bug>& bugs) {
  bugs.push_back({.number = 1,
                  .form = "db of the replicated bias is left partial over dp",
                  .setting = kUnevenGrid,
                  .program = ReadWithout("db"),
                  .hooks = OnSchedule([](Schedule& s, const Mesh&) { DropCollective(s, "db"); }),
                  .quantity = Quantity::kDb,
                  .caught_by = ByNumbers({{Lane::kPlacement, "'db.partial' is Partial"},
                                          {Lane::kBytes, "db 0 of"},
                                          {Lane::kReplicas, ""}})});
  bugs.push_back({.number = 2,
                  .form = "dX is not all-reduced",
                  .setting = kRow,
                  .program = Declare("dx.partial", Axis::kTp, Replicate()),
                  .hooks = OnSchedule([](Schedule& s, const Mesh&) { DropCollective(s, "dx"); }),
                  .quantity = Quantity::kDx,
                  .caught_by = ByNumbers({{Lane::kPlacement, "'dx.partial' is declared"},
                                          {Lane::kBytes, "dx 0 of"},
                                          {Lane::kReplicas, ""}})});
  bugs.push_back({.number = 8,
                  .form = "no gradient comes back through the gather",
                  .setting = kWholeRow,
                  .program = [](Program& p) { FirstOf(p, OpKind::kMseGrad).scale = 0; },
                  .quantity = Quantity::kDx,
                  .caught_by = ByNumbers()});
  bugs.push_back({.number = 8,
                  .form = "W and b are not among what is trained",
                  .setting = kRow,
                  .program =
                      [](Program& p) {
                        std::vector<Op> ops;
                        for (const Op& op : p.ops()) {
                          if (op.kind != OpKind::kSgdUpdate) ops.push_back(op);
                        }
                        p.ReplaceOps(std::move(ops));
                      },
                  .quantity = Quantity::kLoss,
                  .caught_by = ByNumbers()});
  bugs.push_back({.number = 9,
                  .form = "shards of dW are averaged over tp as if they were replicas",
                  .setting = kRowOnGrid,
                  .program = Declare("dw.partial", Axis::kTp, Partial()),
                  .hooks = OnSchedule([](Schedule& s, const Mesh& mesh) {
                    AllReduceAfter(s, mesh, Axis::kTp, Action::kGemm, "dw.partial");
                    const int reduce = IndexOf(s, Action::kCollective, "dw.partial");
                    ScaleAfter(s, reduce, s.ops[reduce].receive, 1.0 / mesh.Size(Axis::kTp));
                  }),
                  .quantity = Quantity::kDw,
                  .caught_by = ByNumbers({{Lane::kPlacement, "'dw.partial' is declared"},
                                          {Lane::kBytes, "dw.partial "}})});
  bugs.push_back(
      {.number = 10,
       .form = "the reverse of the all-reduce of Y sums dY over tp",
       .setting = kColumn,
       .program = Declare("dy", Axis::kTp, Partial()),
       .hooks = OnSchedule([](Schedule& s, const Mesh& mesh) {
         AllReduceAfter(s, mesh, Axis::kTp, Action::kMseLossGrad, "loss");
       }),
       .quantity = Quantity::kDx,
       .caught_by = ByNumbers({{Lane::kPlacement, "'dy' is declared"}, {Lane::kBytes, "loss "}})});
}

void AddForwardBugs(std::vector<Bug>& bugs) {
  bugs.push_back(
      {.number = 3,
       .form = "the bias is added on every rank, before the all-reduce",
       .setting = kColumn,
       .program =
           [](Program& p) { FirstOf(p, OpKind::kMatMul).inputs.push_back(p.Find("b").value()); },
       .hooks = OnSchedule([](Schedule& s, const Mesh&) {
         OpOf(s, Action::kGemm, "xw.partial").reads.push_back(s.BindingOf("b").view);
         ScheduledOp& add = OpOf(s, Action::kAddBias, "y");
         add.action = Action::kCopy;
         add.reads.pop_back();
         OrderAgain(s);
       }),
       .quantity = Quantity::kY,
       .caught_by = ByNumbers({{Lane::kPlacement, "the bias would be counted once a rank"}})});
  bugs.push_back({.number = 4,
                  .form = "Y is reduced in a contiguous copy, which is thrown away",
                  .setting = kColumn,
                  .program = ReadWithout("xw"),
                  .hooks = OnSchedule([](Schedule& s, const Mesh&) { ReduceACopy(s, "xw"); }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers(
                      {{Lane::kPlacement, "'xw.partial' is Partial"}, {Lane::kReplicas, ""}})});
  bugs.push_back(
      {.number = 6,
       .form = "the bias is sharded over dp, not over tp",
       .setting = kRowOnGrid,
       .program =
           [](Program& p) { ValueNamed(p, "b").placements = Placements(Replicate(), Shard(0)); },
       .hooks = OnFeed("b",
                       [](int rank, const Mesh& mesh, Binding& b, ElementSource&) {
                         const ShardGeometry geometry(b.shape[0], mesh.Size(Axis::kDp));
                         b.column = geometry.Offset(mesh.Coordinate(rank, Axis::kDp));
                       }),
       .quantity = Quantity::kY,
       .caught_by = ByNumbers(
           {{Lane::kPlacement, "the bias must lie as the columns do"}, {Lane::kReplicas, "b"}})});
  bugs.push_back(
      {.number = 7,
       .form = "the gathered Y is laid out rank-major",
       .setting = kWholeRow,
       .hooks = OnSchedule([](Schedule& s, const Mesh& mesh) { LayOutRankMajor(s, mesh, "y"); }),
       .quantity = Quantity::kY,
       .caught_by = ByNumbers()});
}

// The ranks of a collective over `axis` are those of the other axis.
Hooks WrongGroup(std::string name, Axis other) {
  return OnSchedule([=](Schedule& s, const Mesh& mesh) {
    OpOf(s, Action::kCollective, name).group = mesh.Group(s.rank, other);
  });
}

void AddMeshBugs(std::vector<Bug>& bugs) {
  bugs.push_back({.number = 5,
                  .form = "Y is reduced over the dp group",
                  .setting = kColumnOnGrid,
                  .hooks = WrongGroup("xw", Axis::kDp),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers({{Lane::kReplicas, ""}})});
  bugs.push_back({.number = 5,
                  .form = "dW is synchronised over the tp group",
                  .setting = kRowOnGrid,
                  .program =
                      [](Program& p) {
                        Value& dw = ValueNamed(p, "dw");
                        dw.placements = Placements(Replicate(), Partial());
                      },
                  .hooks = WrongGroup("dw", Axis::kTp),
                  .quantity = Quantity::kDw,
                  .caught_by = ByNumbers({{Lane::kPlacement, "'dw' is"}, {Lane::kReplicas, ""}})});
  bugs.push_back({.number = 5,
                  .form = "which rows of W a rank holds follows from its place in the world",
                  .setting = kRowOnGrid,
                  .hooks = OnFeed("w",
                                  [](int rank, const Mesh& mesh, Binding& w, ElementSource&) {
                                    const ShardGeometry geometry(w.shape[0], mesh.Size(Axis::kTp));
                                    w.row =
                                        geometry.Offset(rank * mesh.Size(Axis::kTp) / mesh.world());
                                  }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers({{Lane::kReplicas, "W"}})});
  bugs.push_back({.number = 13,
                  .form = "the layer falls back to no sharding",
                  .setting = kRow,
                  .program =
                      [](Program& p) {
                        for (size_t id = 0; id < p.values().size(); ++id) {
                          p.mutable_value(static_cast<ValueId>(id)).placements[Axis::kTp] =
                              Replicate();
                        }
                      },
                  .caught_by = {{Lane::kBytes, "y 0 of"}}});
  bugs.push_back({.number = 13,
                  .form = "out_features / tp is rounded down; the rest is not computed",
                  .setting = kRow,
                  .hooks = OnSchedule([](Schedule& s, const Mesh& mesh) {
                    ScheduledOp& product = OpOf(s, Action::kGemm, "y.shard");
                    View& w = product.reads[1];
                    const int64_t columns = s.BindingOf("w").shape[0] / mesh.Size(Axis::kTp);
                    w = w.Sub(0, 0, w.rows, columns);
                    product.reads[2] = product.reads[2].Sub(0, 0, 1, columns);
                    View& y = product.writes[0];
                    y = y.Sub(0, 0, y.rows, columns);
                    OrderAgain(s);
                  }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers()});
  bugs.push_back({.number = 13,
                  .form = "in_features / tp is rounded down; the rest is not multiplied",
                  .setting = kColumn,
                  .hooks = OnSchedule([](Schedule& s, const Mesh& mesh) {
                    ScheduledOp& product = OpOf(s, Action::kGemm, "xw.partial");
                    View& x = product.reads[0];
                    View& w = product.reads[1];
                    const int64_t length = s.BindingOf("w").shape[1] / mesh.Size(Axis::kTp);
                    x = x.Sub(0, 0, x.rows, length);
                    w = w.Sub(0, 0, length, w.columns);
                    OrderAgain(s);
                  }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers()});
}

void AddInitialisationBugs(std::vector<Bug>& bugs) {
  bugs.push_back(
      {.number = 11,
       .form = "every rank draws its rows of W with the same seed",
       .setting = kRow,
       .hooks = OnFeed("w", [](int, const Mesh&, Binding& w, ElementSource&) { w.row = 0; }),
       .quantity = Quantity::kY,
       .caught_by = ByNumbers()});
  bugs.push_back({.number = 11,
                  .form = "the spread of W is that of a layer of in_features / tp",
                  .setting = kColumn,
                  .hooks = OnFeed("w",
                                  [](int, const Mesh& mesh, Binding&, ElementSource& source) {
                                    const double factor = std::sqrt(mesh.Size(Axis::kTp));
                                    source = [=](int64_t i) { return factor * source(i); };
                                  }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers()});
  // Y as it is assembled is rank 0's and right; the columns of dX that other ranks make are not.
  bugs.push_back({.number = 12,
                  .form = "each rank draws the replicated bias from a seed of its own",
                  .setting = kColumn,
                  .hooks = OnFeed("b",
                                  [](int rank, const Mesh&, Binding&, ElementSource& source) {
                                    if (rank == 0) return;
                                    const RandomTensor random(static_cast<uint64_t>(rank), 0);
                                    source = [=](int64_t i) { return random.Uniform(i); };
                                  }),
                  .quantity = Quantity::kY,
                  .caught_by = {{Lane::kReplicas, ""},
                                {Lane::kExact, "dX"},
                                {Lane::kBounded, "dX"},
                                {Lane::kBoundedBf16, "dX"}}});
}

// What tp rank 1 holds of the loss counts `times` times.
Hooks CountLossOfRankOne(double times) {
  return OnSchedule([=](Schedule& s, const Mesh& mesh) {
    if (mesh.Coordinate(s.rank, Axis::kTp) != 1) return;
    const int index = IndexOf(s, Action::kMseLossGrad, "loss");
    ScaleAfter(s, index, s.ops[index].writes[0], times);
  });
}

void AddCountingBugs(std::vector<Bug>& bugs) {
  // The engine has no gradient norm yet. Its one sum of squares over shards is the loss.
  bugs.push_back({.number = 14,
                  .form = "the loss, a sum over shards, counts one of them twice",
                  .setting = kRow,
                  .program = Declare("loss", Axis::kTp, Replicate()),
                  .hooks = CountLossOfRankOne(2),
                  .quantity = Quantity::kLoss,
                  .caught_by = ByNumbers({{Lane::kPlacement, "'loss' is declared"}})});
  bugs.push_back({.number = 14,
                  .form = "the loss does not count one of its shards",
                  .setting = kRow,
                  .hooks = CountLossOfRankOne(0),
                  .quantity = Quantity::kLoss,
                  .caught_by = ByNumbers()});
  bugs.push_back({.number = 17,
                  .form = "Y is the maximum over the ranks, not the sum",
                  .setting = kColumn,
                  .hooks = OnSchedule([](Schedule& s, const Mesh&) {
                    OpOf(s, Action::kCollective, "xw").call.reduction = Reduction::kMax;
                  }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers()});
  bugs.push_back({.number = 17,
                  .form = "Y is the mean over the ranks, not the sum",
                  .setting = kColumn,
                  .hooks = OnSchedule([](Schedule& s, const Mesh& mesh) {
                    const int index = IndexOf(s, Action::kCollective, "xw");
                    ScaleAfter(s, index, s.ops[index].receive, 1.0 / mesh.Size(Axis::kTp));
                  }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers()});
  bugs.push_back({.number = 17,
                  .form = "dW, of a loss that is a mean over all, is averaged over dp again",
                  .setting = kUnevenGrid,
                  .hooks = OnSchedule([](Schedule& s, const Mesh& mesh) {
                    const int index = IndexOf(s, Action::kCollective, "dw");
                    ScaleAfter(s, index, s.ops[index].receive, 1.0 / mesh.Size(Axis::kDp));
                  }),
                  .quantity = Quantity::kDw,
                  .caught_by = ByNumbers()});
  bugs.push_back({.number = 18,
                  .form = "the loss and its gradient are divided by the world size once more",
                  .setting = kUnevenGrid,
                  .program = [](Program& p) { FirstOf(p, OpKind::kMseLossGrad).scale /= 6; },
                  .quantity = Quantity::kLoss,
                  .caught_by = ByNumbers()});
  Setting apart = kUnevenGrid;
  apart.optimize = false;
  bugs.push_back({.number = 18,
                  .form = "the gradient alone is divided by the world size once more",
                  .setting = apart,
                  .program = [](Program& p) { FirstOf(p, OpKind::kMseGrad).scale /= 6; },
                  .quantity = Quantity::kDx,
                  .caught_by = ByNumbers()});
}

void AddOrderBugs(std::vector<Bug>& bugs) {
  bugs.push_back({.number = 15,
                  .form = "Y is made without waiting for the sum",
                  .setting = kColumn,
                  .hooks = OnSchedule([](Schedule& s, const Mesh&) {
                    OpOf(s, Action::kAddBias, "y").waits.clear();
                  }),
                  .quantity = Quantity::kY,
                  .caught_by = {{Lane::kHazard, "xw.partial"}}});
  bugs.push_back({.number = 15,
                  .form = "Y is made of the sum of the step before",
                  .setting = kColumn,
                  .hooks = OnSchedule([](Schedule& s, const Mesh&) {
                    MoveToFront(s, IndexOf(s, Action::kAddBias, "y"));
                  }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers()});
  Hooks stale = OnSchedule(
      [](Schedule& s, const Mesh&) { ReadFromStepBefore(s, Action::kGemm, "y.shard", "w"); });
  stale.also_feed = {{"w", "w.before"}};
  bugs.push_back({.number = 15,
                  .form = "Y is made of the weights of the step before; the first step is right",
                  .setting = kRow,
                  .hooks = std::move(stale),
                  .quantity = Quantity::kLoss,
                  .caught_by = ByNumbers()});
}

// Member 1's first addition in each ring of three: one chunk at one place.
bool OneChunk(int member, int size, int nth) { return member == 1 && nth % (size - 1) == 0; }

void AddCollectiveBugs(std::vector<Bug>& bugs) {
  Setting ring = kColumn;
  ring.algorithm = sim::Algorithm::kRing;
  bugs.push_back(
      {.number = 16,
       .form = "in the gathered Y the shards of two ranks are swapped",
       .setting = kWholeRow,
       .hooks = OnSchedule([](Schedule& s, const Mesh& mesh) { SwapFirstTwoShards(s, mesh, "y"); }),
       .quantity = Quantity::kY,
       .caught_by = ByNumbers()});
  Setting swapped = kColumn;
  swapped.in_features = 20;
  bugs.push_back({.number = 16,
                  .form = "in the gathered dX the shards of two ranks are swapped",
                  .setting = swapped,
                  .hooks = OnSchedule(
                      [](Schedule& s, const Mesh& mesh) { SwapFirstTwoShards(s, mesh, "dx"); }),
                  .quantity = Quantity::kDx,
                  .caught_by = ByNumbers()});
  bugs.push_back(
      {.number = 16,
       .form = "one chunk of the ring is dropped",
       .setting = ring,
       .hooks = OnEndpoint(CombineBy([](double local, double) { return local; }, OneChunk)),
       .quantity = Quantity::kY,
       .caught_by = ByNumbers()});
  bugs.push_back(
      {.number = 16,
       .form = "one chunk of the ring is counted twice",
       .setting = ring,
       .hooks = OnEndpoint(
           CombineBy([](double local, double received) { return local + 2 * received; }, OneChunk)),
       .quantity = Quantity::kY,
       .caught_by = ByNumbers()});
  bugs.push_back({.number = 16,
                  .form = "one chunk of the ring is never sent",
                  .setting = ring,
                  .hooks = OnEndpoint(LoseFirstMessage(1)),
                  .quantity = Quantity::kY,
                  .caught_by = {{Lane::kRun, "all_reduce"}}});
  for (const auto& [declared, real] :
       {std::pair(DType::kFloat32, DType::kBFloat16), std::pair(DType::kFloat64, DType::kFloat32),
        std::pair(DType::kFloat16, DType::kBFloat16)}) {
    Setting setting = ring;
    setting.dtype = declared;
    const DType type = real;
    bugs.push_back(
        {.number = 16,
         .form = "the ring adds in " + std::string(Name(real)) + ", not in " +
                 std::string(Name(declared)),
         .setting = setting,
         .hooks = OnEndpoint(CombineBy(
             [type](double local, double received) { return RoundTo(type, local + received); },
             [](int, int, int) { return true; })),
         .quantity = Quantity::kY,
         .caught_by = {{Lane::kBounded, ""}}});
  }
}

}  // namespace

std::vector<Bug> AllBugs() {
  std::vector<Bug> bugs;
  AddGradientBugs(bugs);
  AddForwardBugs(bugs);
  AddMeshBugs(bugs);
  AddInitialisationBugs(bugs);
  AddCountingBugs(bugs);
  AddOrderBugs(bugs);
  AddCollectiveBugs(bugs);
  std::stable_sort(bugs.begin(), bugs.end(),
                   [](const Bug& a, const Bug& b) { return a.number < b.number; });
  return bugs;
}

}  // namespace tp::planted
