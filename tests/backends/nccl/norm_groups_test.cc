// What goes with an RMS norm or its gradient: only where each op has from the one before it what
// nobody else waits for, and where a thread can do its part of a line in all of them.
#include <gtest/gtest.h>

#include <vector>

#include "tests/backends/nccl/launch_groups_of.h"

namespace tp::nccl {
namespace {

// Four lines, what is summed to them, and a norm with what is around it.
class NormGroupsOf : public LaunchGroupsOf {
 protected:
  static constexpr int64_t kLines = 4;

  View Lines(int64_t length) {
    const View all = Allocate(dtype_, kLines * length);
    return MatrixView(all.buffer, 0, kLines, length, length, 1);
  }
  View Blocks(int64_t count, int64_t length) {
    const int64_t each = kLines * length;
    return MatrixView(Allocate(dtype_, count * each).buffer, 0, count, each, each, 1);
  }
  static View Flat(const View& lines) { return {lines.buffer, lines.offset, {{lines.size(), 1}}}; }

  void MakeViews(int64_t length = 64, int64_t blocks = 2) {
    blocks_ = Blocks(blocks, length);
    for (View* view : {&handed_, &residual_, &x_, &out_, &total_}) *view = Lines(length);
    gain_ = Allocate(dtype_, length);
    gain_grad_ = Allocate(dtype_, length);
    inverse_ = Allocate(AccumulatorOf(dtype_), kLines);
  }
  void AddSum() { Add("sum_rows", {blocks_}, {Flat(handed_)}); }
  void AddAdd() { Add("add", {residual_, handed_}, {x_}); }
  void AddNorm() { Add("rms_norm", {x_, gain_}, {out_, inverse_}); }
  void AddForward() {
    AddSum();
    AddAdd();
    AddNorm();
  }
  void AddGrad() { Add("rms_norm_grad", {x_, gain_, inverse_, handed_}, {out_, gain_grad_}); }
  void AddTotal() { Add("add", {residual_, out_}, {total_}); }
  void AddBackward() {
    AddSum();
    AddGrad();
    AddTotal();
  }
  // An op of another stream that waits for an op, and touches nothing of the others'.
  void AddWaiting(int op) { Add("collective", {other_}, {other_}, {op}, Stream::kCommunication); }
  void Clear() { schedule_.ops.clear(); }
  // Of the first group.
  std::vector<bool> Written() const { return GroupLaunches(schedule_).at(0).written; }
  using Bits = std::vector<bool>;

  DType dtype_ = DType::kBFloat16;
  View other_ = Allocate(DType::kFloat32, 8);
  View blocks_, handed_, residual_, x_, out_, total_, gain_, gain_grad_, inverse_;

 private:
  View Allocate(DType dtype, int64_t elements) {
    const View view = Make(elements);
    schedule_.buffers.back().dtype = dtype;
    end_ = (end_ + elements * 8 + 255) / 256 * 256;
    return {view.buffer, 0, {{elements, 1}}};
  }
};

TEST_F(NormGroupsOf, ChainsBeforeANormAndAroundItsGradient) {
  for (int64_t length : {8, 64, 8192}) {
    for (int64_t blocks : {2, 3, 8}) {
      Clear();
      MakeViews(length, blocks);
      AddForward();
      EXPECT_EQ(Groups(), (Ops{{0, 1, 2}})) << length;
      Clear();
      AddBackward();
      EXPECT_EQ(Groups(), (Ops{{0, 1, 2}})) << length;
      EXPECT_EQ(Written(), (Bits{false, false, true}));
    }
  }
}

TEST_F(NormGroupsOf, PartsOfChains) {
  MakeViews();
  AddAdd();
  AddNorm();
  EXPECT_EQ(Groups(), (Ops{{0, 1}}));
  Clear();
  AddGrad();
  AddTotal();
  EXPECT_EQ(Groups(), (Ops{{0, 1}}));
  Clear();
  AddSum();
  AddGrad();
  EXPECT_EQ(Groups(), (Ops{{0, 1}}));
  Clear();
  AddSum();
  AddNorm();
  AddSum();
  AddTotal();
  EXPECT_EQ(Groups(), Ops{});
}

TEST_F(NormGroupsOf, NoneOfWhatIsNotHandedOn) {
  MakeViews();
  AddSum();
  Add("add", {residual_, total_}, {x_});
  AddNorm();
  AddSum();
  Add("rms_norm_grad", {handed_, gain_, inverse_, total_}, {out_, gain_grad_});
  Add("add", {residual_, x_}, {total_});
  Add("rms_norm", {x_, gain_}, {out_, inverse_});
  EXPECT_EQ(Groups(), (Ops{{1, 2}}));
}

TEST_F(NormGroupsOf, AnOpIsInOneOfThem) {
  MakeViews();
  AddGrad();
  AddTotal();
  Add("rms_norm", {total_, gain_}, {x_, inverse_});
  EXPECT_EQ(Groups(), (Ops{{0, 1}}));
}

TEST_F(NormGroupsOf, WhatOthersReadIsWritten) {
  MakeViews();
  AddForward();
  EXPECT_EQ(Written(), (Bits{false, false, true}));
  Add("copy", {x_}, {total_});
  EXPECT_EQ(Written(), (Bits{false, true, true}));
  Add("collective", {handed_}, {other_}, {2}, Stream::kCommunication);
  EXPECT_EQ(Written(), (Bits{true, true, true}));
  Clear();
  AddForward();
  schedule_.bindings.emplace_back().view = handed_;
  EXPECT_EQ(Written(), (Bits{true, false, true}));
  EXPECT_EQ(Groups(), (Ops{{0, 1, 2}}));
}

TEST_F(NormGroupsOf, WhatWasReadBeforeIsNot) {
  MakeViews();
  Add("collective", {handed_}, {other_}, {}, Stream::kCommunication);
  AddForward();
  EXPECT_EQ(Groups(), (Ops{{1, 2, 3}}));
  EXPECT_EQ(Written(), (Bits{false, false, true}));
}

TEST_F(NormGroupsOf, NoneBeyondAnOpThatAnotherStreamWaitsFor) {
  MakeViews();
  const auto expect = [&](int waits_for, const Ops& forward, const Ops& backward) {
    Clear();
    AddForward();
    AddWaiting(waits_for);
    EXPECT_EQ(Groups(), forward) << waits_for;
    Clear();
    AddBackward();
    AddWaiting(waits_for);
    EXPECT_EQ(Groups(), backward) << waits_for;
  };
  expect(0, {{1, 2}}, {{1, 2}});
  expect(1, {}, {{0, 1}});
  expect(2, {{0, 1, 2}}, {{0, 1, 2}});
}

TEST_F(NormGroupsOf, OtherStreamsOpsMayLieBetween) {
  MakeViews();
  Add("copy", {other_}, {other_});
  AddSum();
  AddWaiting(0);
  AddAdd();
  AddWaiting(0);
  AddNorm();
  EXPECT_EQ(Groups(), (Ops{{1, 3, 5}}));
  Clear();
  AddSum();
  Add("copy", {other_}, {other_});
  AddAdd();
  AddNorm();
  EXPECT_EQ(Groups(), (Ops{{2, 3}}));
}

TEST_F(NormGroupsOf, NoneOfLinesThatNoBlockHoldsOrThatAreOdd) {
  for (int64_t length : {60, 8200}) {
    Clear();
    MakeViews(length);
    AddForward();
    AddBackward();
    EXPECT_EQ(Groups(), Ops{}) << length;
  }
}

TEST_F(NormGroupsOf, NoneOfTypesThatHaveNoKernel) {
  dtype_ = DType::kFloat64;
  MakeViews();
  AddForward();
  AddBackward();
  EXPECT_EQ(Groups(), Ops{});
}

TEST_F(NormGroupsOf, NoneInTheInvariantOrder) {
  MakeViews();
  AddForward();
  AddBackward();
  EXPECT_EQ(Groups(), (Ops{{0, 1, 2}, {3, 4, 5}}));
  schedule_.sum_order = SumOrder::kInvariant;
  EXPECT_EQ(Groups(), Ops{});
}

TEST_F(NormGroupsOf, NoSumOfOneRowNorOfNine) {
  for (int64_t blocks : {1, 9}) {
    Clear();
    MakeViews(64, blocks);
    AddForward();
    AddBackward();
    EXPECT_EQ(Groups(), (Ops{{1, 2}, {4, 5}})) << blocks;
  }
}

TEST_F(NormGroupsOf, NoneWhereOneLiesOtherwise) {
  MakeViews();
  for (View* view : {&residual_, &x_, &out_}) {
    const View before = *view;
    view->offset = 1;  // where no access of 16 bytes begins
    AddForward();
    EXPECT_EQ(Groups(), Ops{});
    Clear();
    *view = Lines(72);  // with gaps
    view->dims[1].size = 64;
    AddForward();
    EXPECT_EQ(Groups(), Ops{});
    Clear();
    *view = before;
  }
  for (View* view : {&residual_, &handed_, &x_, &out_, &blocks_, &gain_}) {
    const View before = *view;
    schedule_.buffers[before.buffer].dtype = DType::kFloat16;
    AddBackward();
    EXPECT_NE(Groups(), (Ops{{0, 1, 2}}));
    Clear();
    schedule_.buffers[before.buffer].dtype = dtype_;
  }
  for (View* view : {&handed_, &residual_, &x_, &out_, &total_}) {
    *view = Lines(72);
    view->dims[1].size = 64;
  }
  AddAdd();
  AddNorm();
  AddGrad();
  AddTotal();
  EXPECT_EQ(Groups(), Ops{});
  Clear();
  MakeViews();
  blocks_.dims[0].stride += 4;
  AddForward();
  EXPECT_EQ(Groups(), (Ops{{1, 2}}));
}

TEST_F(NormGroupsOf, LinesInAnyOrderThatAllHave) {
  MakeViews();
  const auto turn = [](View& view) { view.dims = {{2, 64}, {2, 128}, {64, 1}}; };
  for (View* view : {&handed_, &residual_, &x_, &out_, &total_}) turn(*view);
  inverse_.dims = {{2, 2}, {2, 1}};
  AddForward();
  EXPECT_EQ(Groups(), (Ops{{0, 1, 2}}));
  Clear();
  residual_.dims = {{2, 128}, {2, 64}, {64, 1}};
  AddForward();
  EXPECT_EQ(Groups(), Ops{});
}

TEST_F(NormGroupsOf, NoSumThatIsReadTwice) {
  MakeViews();
  AddSum();
  Add("add", {handed_, handed_}, {x_});
  AddNorm();
  EXPECT_EQ(Groups(), (Ops{{1, 2}}));
  Clear();
  AddSum();
  Add("rms_norm_grad", {handed_, gain_, inverse_, handed_}, {out_, gain_grad_});
  EXPECT_EQ(Groups(), Ops{});
}

// All lines are under way at once: what one thread writes no other may still have to read.
TEST_F(NormGroupsOf, NoneThatWritesWhereAnotherLineIsRead) {
  const auto lay = [&](const View& view, const View& over, int64_t bytes) {
    schedule_.buffers[view.buffer].offset = schedule_.buffers[over.buffer].offset + bytes;
  };
  MakeViews();
  AddForward();
  lay(out_, residual_, 0);
  EXPECT_EQ(Groups(), (Ops{{0, 1, 2}}));
  lay(out_, residual_, 128);
  EXPECT_EQ(Groups(), Ops{});
  lay(out_, blocks_, 0);
  EXPECT_EQ(Groups(), (Ops{{1, 2}}));
  lay(out_, handed_, 0);  // which is not written; alone the add would read it
  EXPECT_EQ(Groups(), (Ops{{0, 1, 2}}));
  schedule_.bindings.emplace_back().view = handed_;
  EXPECT_EQ(Groups(), (Ops{{1, 2}}));
  schedule_.bindings.clear();
  lay(inverse_, residual_, 0);
  EXPECT_EQ(Groups(), Ops{});
  Clear();
  MakeViews();
  AddBackward();
  EXPECT_EQ(Groups(), (Ops{{0, 1, 2}}));
  lay(gain_grad_, gain_, 0);
  EXPECT_EQ(Groups(), Ops{});
}

}  // namespace
}  // namespace tp::nccl
