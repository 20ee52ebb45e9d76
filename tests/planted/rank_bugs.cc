// Bugs in what the ranks hold, whom they talk to, and what they send.
#include <cmath>
#include <utility>

#include "tests/planted/bug_parts.h"
#include "tests/planted/edits.h"
#include "tests/planted/faulty_endpoint.h"
#include "tp/core/random.h"
#include "tp/core/shard_geometry.h"

namespace tp::planted {
namespace {

using verify::Quantity;

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
                  .hooks = WrongGroup("y", Axis::kDp),
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
                                    w.origin[0] =
                                        geometry.Offset(rank * mesh.Size(Axis::kTp) / mesh.world());
                                  }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers({{Lane::kReplicas, "W"}})});
  bugs.push_back(
      {.number = 6,
       .form = "the bias is sharded over dp, not over tp",
       .setting = kRowOnGrid,
       .program =
           [](Program& p) { ValueNamed(p, "b").placements = Placements(Replicate(), Shard(0)); },
       .hooks = OnFeed("b",
                       [](int rank, const Mesh& mesh, Binding& b, ElementSource&) {
                         const ShardGeometry geometry(b.shape[0], mesh.Size(Axis::kDp));
                         b.origin[0] = geometry.Offset(mesh.Coordinate(rank, Axis::kDp));
                       }),
       .quantity = Quantity::kY,
       .caught_by = ByNumbers({{Lane::kPlacement, "'b' as Shard(0)"}, {Lane::kReplicas, "b"}})});
}

void AddDivisionBugs(std::vector<Bug>& bugs) {
  bugs.push_back(
      {.number = 13,
       .form = "the layer falls back to no sharding",
       .setting = kRow,
       .program =
           [](Program& p) {
             for (size_t id = 0; id < p.values().size(); ++id) {
               p.mutable_value(static_cast<ValueId>(id)).placements.Set(Axis::kTp, Replicate());
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
                    w = w.Sub(1, 0, columns);
                    product.reads[2] = product.reads[2].Sub(0, 0, columns);
                    View& y = product.writes[0];
                    y = y.Sub(1, 0, columns);
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
                    x = x.Sub(1, 0, length);
                    w = w.Sub(0, 0, length);
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
       .hooks = OnFeed("w", [](int, const Mesh&, Binding& w, ElementSource&) { w.origin[0] = 0; }),
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
                  .quantity = Quantity::kB,
                  .caught_by = {{Lane::kReplicas, ""}}});  // rank 0's is the one that is added
}

void AddSwapBugs(std::vector<Bug>& bugs) {
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
}

// Member 1's first addition in each ring of three: one chunk at one place.
bool OneChunk(int member, int size, int nth) { return member == 1 && nth % (size - 1) == 0; }

void AddRingBugs(std::vector<Bug>& bugs) {
  Setting ring = kColumn;
  ring.algorithm = sim::Algorithm::kRing;
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

void AddRankBugs(std::vector<Bug>& bugs) {
  AddMeshBugs(bugs);
  AddDivisionBugs(bugs);
  AddInitialisationBugs(bugs);
  AddSwapBugs(bugs);
  AddRingBugs(bugs);
}

}  // namespace tp::planted
