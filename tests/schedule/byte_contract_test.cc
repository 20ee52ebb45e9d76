#include "tp/schedule/byte_contract.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "tp/model/linear_step.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

using Shape3 = std::tuple<int64_t, int64_t, int64_t>;

class ByteContractOfAStep : public testing::TestWithParam<std::tuple<LinearMode, Shape3, DType>> {};

// The closed forms, summed over all ranks: tokens M, in K, out N. A group of p sends (p - 1) times
// the array for a gather and 2 (p - 1) times for a reduction; each of the dp groups along tp has
// its part of the M rows.
TEST_P(ByteContractOfAStep, IsTheClosedForm) {
  const auto [mode, shape, dtype] = GetParam();
  const auto [m, k, n] = shape;
  for (int64_t tp : {1, 2, 3, 4, 5, 8}) {
    for (int64_t dp : {1, 2, 3}) {
      for (bool optimize : {false, true}) {
        SCOPED_TRACE(testing::Message() << "tp " << tp << " dp " << dp << " passes " << optimize);
        LinearStepOptions options;
        options.mode = mode;
        options.tokens = m;
        options.in_features = k;
        options.out_features = n;
        options.dtype = dtype;
        options.optimize = optimize;
        const Mesh mesh = Mesh::Create(static_cast<int>(tp), static_cast<int>(dp)).value();
        const bool row = mode == LinearMode::kRow;
        int64_t sent[4] = {};  // elements by phase
        for (const ContractEntry& entry :
             ByteContract(MakeLinearStep(options, mesh).value(), mesh)) {
          EXPECT_GT(mesh.Size(entry.axis), 1);
          EXPECT_EQ(entry.bytes % SizeOf(dtype), 0);
          sent[static_cast<int>(entry.phase)] += entry.bytes / SizeOf(dtype);
        }
        EXPECT_EQ(sent[static_cast<int>(Phase::kForward)], (tp - 1) * m * n * (row ? 1 : 2));
        EXPECT_EQ(sent[static_cast<int>(Phase::kBackward)], (tp - 1) * m * k * (row ? 2 : 1));
        // b is sharded in row mode and replicated over tp in column mode.
        EXPECT_EQ(sent[static_cast<int>(Phase::kGradientSync)],
                  2 * (dp - 1) * (n * k + (row ? n : tp * n)));
        EXPECT_EQ(sent[static_cast<int>(Phase::kOptimizer)], 0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, ByteContractOfAStep,
                         testing::Combine(testing::Values(LinearMode::kRow, LinearMode::kColumn),
                                          testing::Values(Shape3{20, 1000, 1000}, Shape3{7, 5, 11},
                                                          Shape3{1, 1, 1}),
                                          testing::Values(DType::kFloat32, DType::kBFloat16)));

TEST(ByteContract, SaysWhichValueAndHow) {
  const Mesh mesh = Mesh::Create(2, 2).value();
  LinearStepOptions options;
  options.tokens = 4;
  options.in_features = 6;
  options.out_features = 8;
  options.optimize = false;
  const std::vector<ContractEntry> entries =
      ByteContract(MakeLinearStep(options, mesh).value(), mesh);
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_EQ(entries[0].name, "y");
  EXPECT_EQ(entries[0].kind, CollectiveKind::kAllGather);
  EXPECT_EQ(entries[0].axis, Axis::kTp);
  EXPECT_EQ(entries[0].phase, Phase::kForward);
  EXPECT_EQ(entries[0].bytes, 4 * 8 * 4);
  EXPECT_EQ(entries[1].name, "db");
  EXPECT_EQ(entries[1].axis, Axis::kDp);
  EXPECT_EQ(entries[2].name, "dx");
  EXPECT_EQ(entries[2].kind, CollectiveKind::kAllReduce);
  EXPECT_EQ(entries[3].name, "dw");
}

// The two entries of a sum tree are of one value, and each has its own collective; a gather or a
// scatter in turns is all_to_alls of one entry.
TEST(ByteContract, EachCollectiveServesOneEntry) {
  for (SumOrder order : {SumOrder::kFast, SumOrder::kInvariant}) {
    for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
      for (int tp : {2, 3, 8}) {
        LinearStepOptions options;
        options.mode = mode;
        options.sum_order = order;
        const Mesh mesh = Mesh::Create(tp, 1).value();
        const Program program = MakeLinearStep(options, mesh).value();
        const std::vector<ContractEntry> entries = ByteContract(program, mesh);
        const Schedule schedule = Lower(program, mesh, 0, {.sum_part_bytes = 1}).value();
        for (const ScheduledOp& op : schedule.ops) {
          if (op.action != Action::kCollective) continue;
          EXPECT_EQ(std::ranges::count_if(
                        entries, [&](const ContractEntry& entry) { return Serves(op, entry); }),
                    1)
              << op.name << " tp " << tp << " " << Name(mode);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tp
