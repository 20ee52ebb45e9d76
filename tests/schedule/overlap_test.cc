// Which ops are cut into parts, and in what order these run. That they keep what is computed is
// random_program_test.cc's to show.
#include "tp/schedule/overlap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tp/model/linear_step.h"
#include "tp/model/transformer.h"
#include "tp/ops/ops.h"
#include "tp/ops/parse.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

using testing::ElementsAre;

// "compute y" for each op of rank 0, in list order.
std::vector<std::string> OpsOf(LinearMode mode, int64_t part_bytes, int64_t in_features = 8) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = 20;
  options.in_features = in_features;
  options.out_features = 10;  // y has 800 bytes, dx 80 times in_features
  const Mesh mesh = Mesh::Create(2, 1).value();
  const Program program = MakeLinearStep(options, mesh).value();
  const Schedule schedule = Lower(program, mesh, 0, {.sum_part_bytes = part_bytes}).value();
  std::vector<std::string> names;
  for (const ScheduledOp& op : schedule.ops) {
    names.push_back(std::string(Name(op.stream)) + " " + op.name);
  }
  return names;
}

TEST(Overlap, CutsASumWithWhatMakesAndReadsIt) {
  EXPECT_THAT(OpsOf(LinearMode::kColumn, 400),
              ElementsAre("compute xw.partial", "communication y", "compute xw.partial",
                          "communication y", "compute loss", "compute loss", "compute dx.shard",
                          "communication dx", "compute dw.partial", "compute db.partial",
                          "compute w.updated", "compute b.updated", "compute loss"));
  EXPECT_THAT(OpsOf(LinearMode::kRow, 300),
              ElementsAre("compute y.shard", "communication y", "compute loss",
                          "compute dx.partial", "communication dx", "compute dx.partial",
                          "communication dx", "compute dw.partial", "compute db.partial",
                          "compute w.updated", "compute b.updated"));
}

TEST(Overlap, CutsTheProductBehindWhereItsPartsAreAsLarge) {
  EXPECT_THAT(
      OpsOf(LinearMode::kColumn, 400, /*in_features=*/20),
      ElementsAre("compute xw.partial", "communication y", "compute xw.partial", "communication y",
                  "compute loss", "compute dx.shard", "compute loss", "compute dx.shard",
                  "communication dx", "compute dw.partial", "compute db.partial",
                  "compute w.updated", "compute b.updated", "compute loss"));
}

// "begin-end" of the rows of each product that makes `name`, in list order; a "!" behind those that
// wait for another stream.
std::vector<std::string> RowsOf(const Schedule& schedule, std::string_view name) {
  std::vector<std::string> rows;
  for (const ScheduledOp& op : schedule.ops) {
    if (op.name != name || op.action != Action::kGemm) continue;
    const int64_t begin = op.writes[0].offset / op.writes[0].dims[0].stride;
    rows.push_back(std::to_string(begin) + "-" + std::to_string(begin + op.writes[0].rows()) +
                   (op.waits.empty() ? "" : "!"));
  }
  return rows;
}

// Own rows do not wait for those that come, and each block's rows for no other's. Of several
// products behind a gather, all own rows go first; only as many are cut as there is something to
// wait for, and what is left when all have come is one.
TEST(Overlap, CutsProductsBehindAGather) {
  const Mesh mesh = Mesh::Create(4, 1).value();
  TransformerStepOptions options = {.batch = 2, .sequence = 10, .sequence_parallel = true};
  const auto gate_and_up = [&](int64_t hidden, int64_t ffn, int rank) {
    TransformerConfig config;
    config.hidden = hidden;
    config.ffn = ffn;
    const Program program = MakeTransformerStep(config, options, mesh).value();
    const Schedule schedule = Lower(program, mesh, rank, {.sum_part_bytes = 1}).value();
    return std::pair(RowsOf(schedule, "layers.0.mlp.gate"), RowsOf(schedule, "layers.0.mlp.up"));
  };
  // Ten places are 3, 2, 3 and 2, of two sequences.
  const auto [gate, up] = gate_and_up(64, 176, 1);
  EXPECT_THAT(gate, ElementsAre("6-10", "0-6!", "16-20!", "10-16!"));
  EXPECT_THAT(up, ElementsAre("6-10", "0-6", "16-20", "10-16"));
  const auto [first_gate, first_up] = gate_and_up(64, 176, 0);
  EXPECT_THAT(first_gate, ElementsAre("0-6", "16-20!", "10-16!", "6-10!"));
  EXPECT_THAT(first_up, ElementsAre("0-6", "16-20", "10-16", "6-10"));
  // Own rows of the gate alone take longer than the rest of 20 x 4 x 4 bytes.
  const auto [wide_gate, wide_up] = gate_and_up(4, 60000, 0);
  EXPECT_THAT(wide_gate, ElementsAre("0-6", "6-20!"));
  EXPECT_THAT(wide_up, ElementsAre("0-20"));
  EXPECT_THAT(gate_and_up(4, 60000, 1).first, ElementsAre("6-10", "0-6!", "10-20!"));
  // Ten rows of both take as long as the others' 14 need to come.
  EXPECT_THAT(gate_and_up(4, 11200, 0).first, ElementsAre("0-6", "16-20!", "6-16!"));
}

// "gemm y 3-5" for a product of these rows of its first factor, "all_to_all y" for a collective.
std::vector<std::string> StepsOf(const Schedule& schedule) {
  std::vector<std::string> steps;
  for (const ScheduledOp& op : schedule.ops) {
    const bool collective = op.action == Action::kCollective;
    std::string step =
        std::string(collective ? Name(op.call.kind) : Name(op.action)) + " " + op.name;
    if (op.action == Action::kGemm) {
      const int64_t begin = op.reads[0].offset / op.reads[0].dims[0].stride;
      step += " " + std::to_string(begin) + "-" + std::to_string(begin + op.reads[0].rows());
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

// What is to be scattered goes out by blocks, and the sum of blocks waits for its first reader.
TEST(Overlap, SendsTheRowsOfOthersBeforeItMakesItsOwn) {
  const std::string text = R"(
x: fp32 [10, 8] {tp: Shard(1), dp: Replicate} = input()
w: fp32 [8, 6] {tp: Shard(0), dp: Replicate} = input()
z: fp32 [3, 3] {tp: Replicate, dp: Replicate} = input()
v: fp32 [6, 2] {tp: Replicate, dp: Replicate} = input()
part = matmul(x, w)
sum: fp32 [10, 6] {tp: Shard(0), dp: Replicate} = redistribute(part)
meanwhile = matmul(z, z)
y = matmul(sum, v)
result meanwhile, y
)";
  const Program program = ParseProgram(text).value();
  const Mesh mesh = Mesh::Create(4, 1).value();
  const auto steps = [&](int rank, int64_t part_bytes) {
    return StepsOf(Lower(program, mesh, rank, {.sum_part_bytes = part_bytes}).value());
  };
  // Blocks of 3, 2, 3 and 2 rows of 24 bytes: who has most sends seven rows.
  EXPECT_THAT(steps(1, 7 * 24),
              ElementsAre("gemm part 5-8", "all_to_all sum", "gemm part 8-10", "all_to_all sum",
                          "gemm part 0-3", "all_to_all sum", "gemm part 3-5", "gemm meanwhile 0-3",
                          "sum_rows sum", "gemm y 3-5"));
  EXPECT_THAT(steps(0, 7 * 24),
              ElementsAre("gemm part 3-5", "all_to_all sum", "gemm part 5-8", "all_to_all sum",
                          "gemm part 8-10", "all_to_all sum", "gemm part 0-3", "gemm meanwhile 0-3",
                          "sum_rows sum", "gemm y 0-3"));
  EXPECT_THAT(steps(1, 7 * 24 + 1), ElementsAre("gemm part 0-10", "reduce_scatter sum",
                                                "gemm meanwhile 0-3", "gemm y 3-5"));
}

// A loss over dp that is then summed over dp: its parts come together before that.
TEST(Overlap, SumsTheLossBeforeWhoNeedsIt) {
  LinearStepOptions options;
  options.mode = LinearMode::kColumn;
  options.tokens = 40;
  options.in_features = 8;
  options.out_features = 10;
  const Mesh mesh = Mesh::Create(2, 2).value();
  Program program = MakeLinearStep(options, mesh).value();
  program.AddResult(AddRedistribute(program, Phase::kForward, "loss.whole",
                                    program.Find("loss").value(), Axis::kDp, Replicate())
                        .value());
  const Schedule schedule = Lower(program, mesh, 0, {.sum_part_bytes = 400}).value();
  const auto last = [&](Action action, std::string_view name) {
    int found = -1;
    for (size_t i = 0; i < schedule.ops.size(); ++i) {
      const ScheduledOp& op = schedule.ops[i];
      if (op.action == action && op.name == name) found = static_cast<int>(i);
    }
    return found;
  };
  EXPECT_GE(last(Action::kSumRows, "loss"), 0);
  EXPECT_LT(last(Action::kSumRows, "loss"), last(Action::kCollective, "loss.whole"));
}

// Three parts of 1024 rows are not 342, 341 and 341: a part that begins at row 342 of a matrix that
// lies along its columns begins where no wide access does.
TEST(Overlap, PartsBeginWhereWideAccessesDo) {
  LinearStepOptions options;
  options.mode = LinearMode::kRow;
  options.tokens = 1024;
  options.in_features = 12288;
  options.out_features = 4096;
  options.dtype = DType::kBFloat16;
  const Mesh mesh = Mesh::Create(2, 1).value();
  const Program program = MakeLinearStep(options, mesh).value();
  const Schedule schedule = Lower(program, mesh, 0, {.sum_part_bytes = int64_t{8} << 20}).value();
  std::vector<int64_t> rows;
  for (const ScheduledOp& op : schedule.ops) {
    if (op.action != Action::kGemm || op.name != "dx.partial") continue;
    rows.push_back(op.writes[0].rows());
    for (const View& view : op.reads) EXPECT_EQ(view.offset % 64, 0) << view.offset;
  }
  EXPECT_THAT(rows, ElementsAre(384, 320, 320));
}

TEST(Overlap, LeavesASumThatIsSmallerThanTwoParts) {
  EXPECT_EQ(OpsOf(LinearMode::kColumn, 401), OpsOf(LinearMode::kColumn, 0));
}

}  // namespace
}  // namespace tp
