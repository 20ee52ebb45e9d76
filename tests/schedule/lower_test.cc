// What lowering makes of tensors of more than two dimensions, and what it refuses by the op's name.
#include "tp/schedule/lower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/program/programs.h"
#include "tp/ops/ops.h"

namespace tp {
namespace {

using testing::HasSubstr;

ValueId Product(Program& program, const std::string& name, std::vector<ValueId> operands,
                const std::string& letters) {
  return AddOp(program, Phase::kForward, name, kMatMul, std::move(operands), {{"letters", letters}})
      .value();
}

Mesh MeshOf(int tp, int dp) { return Mesh::Create(tp, dp).value(); }

// Heads are sharded whole, and unevenly; q is one product. Gathered, it is stored by groups.
TEST(Lower, MakesOneProductOfHeads) {
  Program program;
  const ValueId x = Input(program, "x", {2, 4, 6}, Placements(Replicate(), Shard(0)));
  const ValueId wq = Parameter(program, "wq", {3, 2, 5, 6}, On(Axis::kTp, Shard(0)));
  const ValueId q = Product(program, "q", {x, wq}, "bqe,grde -> bqgrd");
  program.AddResult(q);
  EXPECT_EQ(ToString(Lower(program, MeshOf(2, 2), 0).value()),
            "rank 0\n"
            "0 compute: q = gemm(x[0+4x6 by 6,1], wq[0+6x20 by 1,6]) -> q[0+4x20 by 20,1]  "
            "# forward\n"
            "buffer x: 96 bytes\n"
            "buffer wq: 480 bytes\n"
            "buffer q: 320 bytes\n");
}

TEST(Lower, GathersHeadsWithoutPacking) {
  Program program;
  const ValueId x = Input(program, "x", {2, 4, 6});
  const ValueId wq = Parameter(program, "wq", {3, 2, 5, 6}, On(Axis::kTp, Shard(0)));
  const ValueId q = Product(program, "q.shard", {x, wq}, "bqe,grde -> bqgrd");
  program.AddResult(
      AddRedistribute(program, Phase::kForward, "q", q, Axis::kTp, Replicate()).value());
  EXPECT_EQ(ToString(Lower(program, MeshOf(2, 1), 1).value()),
            "rank 1\n"
            "0 compute: q.shard = gemm(x[0+8x6 by 6,1], wq[0+6x10 by 1,6]) -> q[160+8x10 by 10,1]  "
            "# forward\n"
            "1 communication: q = all_gather(fp32, 240 elements)(q[160+2x4x1x2x5 by 40,10,80,5,1]) "
            "-> q[0+2x4x2x2x5 by 40,10,80,5,1] after 0  # forward\n"
            "buffer x: 192 bytes\n"
            "buffer wq: 240 bytes\n"
            "buffer q: 960 bytes\n");
}

// The tree runs along g, so that tp may cut g and not d.
TEST(Lower, NamesAProductThatTheInvariantOrderCantSum) {
  for (bool of_heads : {false, true}) {
    Program program;
    const ValueId h = Input(program, "h", {2, 4, 3, 5}, On(Axis::kTp, Shard(of_heads ? 3 : 2)));
    const ValueId w = Parameter(program, "w", {3, 5, 6}, On(Axis::kTp, Shard(of_heads ? 1 : 0)));
    const ValueId y = Product(program, "y", {h, w}, "bqgd,gde -> bqe");
    program.AddResult(
        AddRedistribute(program, Phase::kForward, "sum", y, Axis::kTp, Replicate()).value());
    EXPECT_TRUE(Lower(program, MeshOf(2, 1), 0).ok());
    program.set_sum_order(SumOrder::kInvariant);
    EXPECT_EQ(Lower(program, MeshOf(2, 1), 0).status().ToString(),
              of_heads
                  ? "INVALID_ARGUMENT: matmul 'y': the invariant order of sums takes its tree "
                    "along 'g' of bqgd,gde -> bqe; 'd', which is summed over too, may not be cut"
                  : "OK");
  }
}

// So that what one axis moves does not wait for what another one does.
TEST(Lower, GivesEachAxisAStreamOfItsOwn) {
  const Mesh mesh = Mesh::Create({{"tp", 2}, {"kv", 2}, {"dp", 2}}).value();
  Program program;
  for (const Axis& axis : mesh.axes()) {
    const std::string name(Name(axis));
    const ValueId v = Input(program, name + ".part", {4, 6}, On(axis, Shard(0)));
    program.AddResult(
        AddRedistribute(program, Phase::kForward, name, v, axis, Replicate()).value());
  }
  const Schedule schedule = Lower(program, mesh, 0).value();
  std::set<Stream> streams;
  for (const ScheduledOp& op : schedule.ops) {
    if (op.action != Action::kCollective) continue;
    EXPECT_NE(op.stream, Stream::kCompute);
    EXPECT_TRUE(streams.insert(op.stream).second) << Name(op.stream) << " has two axes";
    EXPECT_TRUE(op.waits.empty()) << op.name;
  }
  EXPECT_EQ(streams.size(), mesh.axes().size());
}

// Rows of the matrix are read, and written, in another order than memory has them.
TEST(Lower, TurnsWhatTheInvariantOrderSums) {
  constexpr char kTurnedInput[] =
      "0 compute: y = copy(x[0+3x4x2x5 by 40,5,20,1]) -> x.packed[0+3x4x2x5 by 40,10,5,1]  "
      "# forward\n"
      "1 compute: y = blocked_gemm(x.packed[0+24x5 by 5,1], w[0+5x1 by 1,1]) -> "
      "y[0+24x1 by 1,1]  # forward\n";
  constexpr char kTurnedOutput[] =
      "0 compute: y = blocked_gemm(x[0+6x5 by 5,1], w[0+5x4 by 1,5]) -> y.own[0+6x4 by 4,1]  "
      "# forward\n"
      "1 compute: y = copy(y.own[0+2x3x4 by 12,4,1]) -> y[0+2x3x4 by 12,1,3]  # forward\n";
  for (bool turned_output : {false, true}) {
    Program program;
    const ValueId x = Input(program, "x", turned_output ? Shape{2, 3, 5} : Shape{3, 2, 4, 5});
    const ValueId w = Input(program, "w", turned_output ? Shape{4, 5} : Shape{5});
    program.AddResult(
        Product(program, "y", {x, w}, turned_output ? "nmk,zk -> nzm" : "nyzk,k -> nzy"));
    program.set_sum_order(SumOrder::kInvariant);
    EXPECT_THAT(ToString(Lower(program, MeshOf(1, 1), 0).value()),
                HasSubstr(turned_output ? kTurnedOutput : kTurnedInput));
  }
}

TEST(Lower, NamesAProductInLoopsThatTheInvariantOrderCantSum) {
  Program program;
  const ValueId q = Input(program, "q", {2, 3, 4});
  const ValueId k = Input(program, "k", {2, 3, 4});
  program.AddResult(Product(program, "scores", {q, k}, "bqd,bkd -> bqk"));
  EXPECT_TRUE(Lower(program, MeshOf(1, 1), 0).ok());
  program.set_sum_order(SumOrder::kInvariant);
  EXPECT_EQ(Lower(program, MeshOf(1, 1), 0).status().ToString(),
            "INVALID_ARGUMENT: matmul 'scores': the invariant order of sums takes what is one "
            "matrix product; bqd,bkd -> bqk is one in each of some loops");
}

TEST(Lower, NamesAProductOfOtherForm) {
  Program program;
  const ValueId a = Input(program, "a", {2, 3});
  program.AddResult(Product(program, "y", {a, a, a}, "mk,mk,mk -> m"));
  EXPECT_THAT(
      Lower(program, MeshOf(1, 1), 0).status().ToString(),
      HasSubstr("matmul 'y': a product takes two factors and one tensor to add at most, not "
                "mk,mk,mk -> m"));
}

TEST(Program, RefusesMoreThanSixDimensions) {
  Program program;
  const Shape seven = {1, 1, 1, 1, 1, 1, 2};
  EXPECT_THAT(AddInput(program, Value{"x", seven, DType::kFloat32, {}}).status().message(),
              HasSubstr("'x' has shape [1, 1, 1, 1, 1, 1, 2]; a value has at most 6 dimensions"));
  const ValueId a = Input(program, "a", {2, 2, 2, 2});
  const ValueId b = Input(program, "b", {2, 2, 2});
  EXPECT_THAT(
      AddOp(program, Phase::kForward, "y", kMatMul, {a, b}, {{"letters", "abcd,efg -> abcdefg"}})
          .status()
          .message(),
      HasSubstr("an output has shape [2, 2, 2, 2, 2, 2, 2]; a value has at most 6"));
}

}  // namespace
}  // namespace tp
