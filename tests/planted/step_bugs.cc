// Bugs in what a step computes, and in which order.
#include <utility>

#include "tests/planted/bug_parts.h"
#include "tests/planted/edits.h"
#include "tp/ops/all.h"

namespace tp::planted {
namespace {

using verify::Quantity;

void DivideScale(Op& op, double by) {
  op.attributes.Set("scale", op.attributes.Number("scale") / by);
}

void AddMissingReductionBugs(std::vector<Bug>& bugs) {
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
}

void AddGradientBugs(std::vector<Bug>& bugs) {
  bugs.push_back({.number = 8,
                  .form = "no gradient comes back through the gather",
                  .setting = kWholeRow,
                  .program = [](Program& p) { FirstOf(p, kMseGrad).attributes.Set("scale", 0.0); },
                  .quantity = Quantity::kDx,
                  .caught_by = ByNumbers()});
  bugs.push_back({.number = 8,
                  .form = "W and b are not among what is trained",
                  .setting = kRow,
                  .program =
                      [](Program& p) {
                        std::vector<Op> ops;
                        for (const Op& op : p.ops()) {
                          if (!op.Is(kSgdUpdate)) ops.push_back(op);
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
         AllReduceAfter(s, mesh, Axis::kTp, kMseLossGrad.action(), "loss");
       }),
       .quantity = Quantity::kDx,
       .caught_by = ByNumbers({{Lane::kPlacement, "'dy' is declared"}, {Lane::kBytes, "loss "}})});
}

void AddForwardBugs(std::vector<Bug>& bugs) {
  bugs.push_back(
      {.number = 3,
       .form = "the bias is added on every rank, before the all-reduce",
       .setting = kColumn,
       .program = [](Program& p) { FirstOf(p, kMatMul).inputs[2] = p.Find("b").value(); },
       .hooks = OnSchedule([](Schedule& s, const Mesh&) {
         ScheduledOp& product = OpOf(s, Action::kGemm, "xw.partial");
         if (product.reads.size() == 2) product.reads.push_back(s.BindingOf("b").view);
       }),
       .quantity = Quantity::kY,
       .caught_by = ByNumbers({{Lane::kPlacement, "would be counted once a rank"}})});
  bugs.push_back({.number = 4,
                  .form = "Y is reduced in a contiguous copy, which is thrown away",
                  .setting = kColumn,
                  .program = ReadWithout("y"),
                  .hooks = OnSchedule([](Schedule& s, const Mesh&) { ReduceACopy(s, "y"); }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers(
                      {{Lane::kPlacement, "'xw.partial' is Partial"}, {Lane::kReplicas, ""}})});
  bugs.push_back(
      {.number = 7,
       .form = "the gathered Y is laid out rank-major",
       .setting = kWholeRow,
       .hooks = OnSchedule([](Schedule& s, const Mesh& mesh) { LayOutRankMajor(s, mesh, "y"); }),
       .quantity = Quantity::kY,
       .caught_by = ByNumbers()});
}

// What tp rank 1 holds of the loss counts `times` times.
Hooks CountLossOfRankOne(double times) {
  return OnSchedule([=](Schedule& s, const Mesh& mesh) {
    if (mesh.Coordinate(s.rank, Axis::kTp) != 1) return;
    const int index = IndexOf(s, kMseLossGrad.action(), "loss");
    ScaleAfter(s, index, s.ops[index].writes[0], times);
  });
}

void AddLossBugs(std::vector<Bug>& bugs) {
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
}

void AddScaleBugs(std::vector<Bug>& bugs) {
  bugs.push_back({.number = 17,
                  .form = "Y is the maximum over the ranks, not the sum",
                  .setting = kColumn,
                  .hooks = OnSchedule([](Schedule& s, const Mesh&) {
                    OpOf(s, Action::kCollective, "y").call.reduction = Reduction::kMax;
                  }),
                  .quantity = Quantity::kY,
                  .caught_by = ByNumbers()});
  bugs.push_back({.number = 17,
                  .form = "Y is the mean over the ranks, not the sum",
                  .setting = kColumn,
                  .hooks = OnSchedule([](Schedule& s, const Mesh& mesh) {
                    const int index = IndexOf(s, Action::kCollective, "y");
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
                  .program = [](Program& p) { DivideScale(FirstOf(p, kMseLossGrad), 6); },
                  .quantity = Quantity::kLoss,
                  .caught_by = ByNumbers()});
  Setting apart = kUnevenGrid;
  apart.optimize = false;
  bugs.push_back({.number = 18,
                  .form = "the gradient alone is divided by the world size once more",
                  .setting = apart,
                  .program = [](Program& p) { DivideScale(FirstOf(p, kMseGrad), 6); },
                  .quantity = Quantity::kDx,
                  .caught_by = ByNumbers()});
}

void AddOrderBugs(std::vector<Bug>& bugs) {
  bugs.push_back({.number = 15,
                  .form = "the loss is that of Y before its sum has come",
                  .setting = kColumn,
                  .hooks = OnSchedule([](Schedule& s, const Mesh&) {
                    OpOf(s, kMseLossGrad.action(), "loss").waits.clear();
                  }),
                  .quantity = Quantity::kLoss,
                  .caught_by = {{Lane::kHazard, "xw.partial"}}});
  bugs.push_back({.number = 15,
                  .form = "the loss is that of the step before's Y",
                  .setting = kColumn,
                  .hooks = OnSchedule([](Schedule& s, const Mesh&) {
                    MoveToFront(s, IndexOf(s, kMseLossGrad.action(), "loss"));
                  }),
                  .quantity = Quantity::kLoss,
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

}  // namespace

void AddStepBugs(std::vector<Bug>& bugs) {
  AddMissingReductionBugs(bugs);
  AddGradientBugs(bugs);
  AddForwardBugs(bugs);
  AddLossBugs(bugs);
  AddScaleBugs(bugs);
  AddOrderBugs(bugs);
}

}  // namespace tp::planted
