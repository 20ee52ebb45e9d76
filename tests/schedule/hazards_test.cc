#include "tp/schedule/hazards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "tests/schedule/pairwise_hazards.h"
#include "tp/schedule/step_order.h"

namespace tp {
namespace {

using testing::HasSubstr;

std::set<int64_t> Elements(const View& view) {
  std::set<int64_t> elements;
  ForEachElement(view, [&](const Index&, int64_t place) { elements.insert(place); });
  return elements;
}

bool ShareAnElement(const View& a, const View& b) {
  if (a.buffer != b.buffer) return false;
  const std::set<int64_t> elements = Elements(a);
  for (int64_t element : Elements(b)) {
    if (elements.contains(element)) return true;
  }
  return false;
}

// A box of a tensor.
View DrawBox(View view) {
  for (int d = 0; d < view.rank(); ++d) {
    const auto begin = *rc::gen::inRange<int64_t>(0, view.dims[d].size + 1);
    view = view.Sub(d, begin, *rc::gen::inRange<int64_t>(0, view.dims[d].size - begin + 1));
  }
  return view;
}

ScheduledOp Touch(Stream stream, std::vector<View> reads, std::vector<View> writes,
                  std::string name) {
  ScheduledOp op;
  op.stream = stream;
  op.reads = std::move(reads);
  op.writes = std::move(writes);
  op.name = std::move(name);
  return op;
}

Schedule WithOps(std::vector<ScheduledOp> ops) {
  Schedule schedule;
  schedule.rank = 3;
  schedule.buffers = {{"y", DType::kFloat32, 24}, {"z", DType::kFloat32, 24}};
  schedule.ops = std::move(ops);
  return schedule;
}

const View kY = MatrixView(0, 0, 4, 6, 6, 1);
const View kBoxes = PackedView(0, 0, {2, 3, 4}, Order::Outermost(1, 3));  // in the same memory
View Z() {
  View z = kY;
  z.buffer = 1;
  return z;
}

TEST(CheckHazards, NamesTheOpsTheBufferAndTheRank) {
  const Schedule schedule = WithOps({Touch(Stream::kCompute, {}, {kY}, "first"),
                                     Touch(Stream::kCommunication, {kY}, {Z()}, "second")});
  EXPECT_EQ(CheckHazards(schedule).ToString(),
            "INVALID_ARGUMENT: race on rank 3: op 0 (copy 'first' on compute) and op 1 (copy "
            "'second' on communication) touch buffer 'y', one of them writing, and no wait orders "
            "them");
}

TEST(CheckHazards, SeesEachKindOfConflict) {
  const Stream a = Stream::kCompute;
  const Stream b = Stream::kCommunication;
  EXPECT_FALSE(CheckHazards(WithOps({Touch(a, {}, {kY}, ""), Touch(b, {kY}, {}, "")})).ok());
  EXPECT_FALSE(CheckHazards(WithOps({Touch(a, {kY}, {}, ""), Touch(b, {}, {kY}, "")})).ok());
  EXPECT_FALSE(CheckHazards(WithOps({Touch(a, {}, {kY}, ""), Touch(b, {}, {kY}, "")})).ok());
  EXPECT_TRUE(CheckHazards(WithOps({Touch(a, {kY}, {}, ""), Touch(b, {kY}, {}, "")})).ok());
  EXPECT_TRUE(CheckHazards(WithOps({Touch(a, {}, {kY}, ""), Touch(a, {kY}, {}, "")})).ok());
}

TEST(CheckHazards, FollowsWaitsThroughOtherOps) {
  Schedule schedule = WithOps({Touch(Stream::kCompute, {}, {kY}, "write"),
                               Touch(Stream::kCommunication, {}, {}, "between"),
                               Touch(Stream::kCommunication, {kY}, {}, "read")});
  EXPECT_FALSE(CheckHazards(schedule).ok());
  schedule.ops[1].waits = {0};
  EXPECT_TRUE(CheckHazards(schedule).ok());
}

TEST(CheckHazards, RefusesWaitsForWhatComesLater) {
  for (int wait : {-1, 0, 1}) {
    Schedule schedule = WithOps({Touch(Stream::kCompute, {}, {kY}, "op")});
    schedule.ops[0].waits = {wait};
    EXPECT_THAT(CheckHazards(schedule).message(), HasSubstr("which is not before it"));
  }
}

TEST(OrderConflicts, AddsOneWaitForAChain) {
  Schedule schedule = WithOps(
      {Touch(Stream::kCompute, {}, {kY}, "a"), Touch(Stream::kCompute, {kY}, {Z()}, "b"),
       Touch(Stream::kCommunication, {kY, Z()}, {}, "c"),
       Touch(Stream::kCommunication, {kY}, {}, "d"), Touch(Stream::kCompute, {}, {kY}, "e")});
  OrderConflicts(schedule);
  EXPECT_TRUE(schedule.ops[1].waits.empty());
  EXPECT_EQ(schedule.ops[2].waits, std::vector<int>{1});  // which is after a
  EXPECT_TRUE(schedule.ops[3].waits.empty());             // behind c
  EXPECT_EQ(schedule.ops[4].waits, std::vector<int>{3});  // which is after c
}

Schedule DrawSchedule() {
  std::vector<ScheduledOp> ops;
  const int count = *rc::gen::inRange(1, 9);
  for (int i = 0; i < count; ++i) {
    const auto stream = *rc::gen::element(Stream::kCompute, Stream::kCommunication);
    const View& of = *rc::gen::arbitrary<bool>() ? kY : kBoxes;
    ops.push_back(Touch(stream, {DrawBox(of)}, {DrawBox(of)}, ""));
  }
  return WithOps(std::move(ops));
}

RC_GTEST_PROP(OrderConflicts, MakesASoundScheduleThatNeedsEachOfItsWaits, ()) {
  Schedule schedule = DrawSchedule();
  OrderConflicts(schedule);
  RC_ASSERT(CheckHazards(schedule).ok());
  for (size_t i = 0; i < schedule.ops.size(); ++i) {
    for (size_t k = 0; k < schedule.ops[i].waits.size(); ++k) {
      Schedule without = schedule;
      auto& waits = without.ops[i].waits;
      waits.erase(waits.begin() + static_cast<std::ptrdiff_t>(k));
      RC_ASSERT(!CheckHazards(without).ok());
    }
  }
}

// Against the definition: two conflicting ops race unless a path leads from one to the other.
RC_GTEST_PROP(CheckHazards, FindsARaceExactlyWhereThereIsOne, ()) {
  Schedule schedule = DrawSchedule();
  const int n = static_cast<int>(schedule.ops.size());
  std::vector<std::vector<bool>> path(n, std::vector<bool>(n));
  for (int i = 0; i < n; ++i) {
    if (i > 0 && *rc::gen::arbitrary<bool>()) {
      schedule.ops[i].waits = {*rc::gen::inRange(0, i)};
    }
    for (int j = 0; j < i; ++j) path[j][i] = schedule.ops[j].stream == schedule.ops[i].stream;
    for (int wait : schedule.ops[i].waits) path[wait][i] = true;
  }
  for (int k = 0; k < n; ++k) {
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) path[i][j] = path[i][j] || (path[i][k] && path[k][j]);
    }
  }
  bool race = false;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < i; ++j) {
      const ScheduledOp& a = schedule.ops[j];
      const ScheduledOp& b = schedule.ops[i];
      const bool conflict = ShareAnElement(a.writes[0], b.writes[0]) ||
                            ShareAnElement(a.writes[0], b.reads[0]) ||
                            ShareAnElement(a.reads[0], b.writes[0]);
      race = race || (conflict && !path[j][i]);
    }
  }
  RC_CLASSIFY(race);
  RC_ASSERT(CheckHazards(schedule).ok() == !race);
}

// Many ops on two buffers, with some waits already there.
Schedule DrawLongSchedule() {
  std::vector<ScheduledOp> ops;
  const int count = *rc::gen::inRange(1, 30);
  for (int i = 0; i < count; ++i) {
    const auto stream = *rc::gen::element(Stream::kCompute, Stream::kCommunication);
    const auto draw = [] {
      std::vector<View> views;
      for (int k = *rc::gen::inRange(0, 3); k > 0; --k) {
        views.push_back(DrawBox(kY));
        views.back().buffer = *rc::gen::inRange(0, 2);
      }
      return views;
    };
    ops.push_back(Touch(stream, draw(), draw(), ""));
    if (i > 0 && *rc::gen::inRange(0, 4) == 0) ops.back().waits = {*rc::gen::inRange(0, i)};
  }
  return WithOps(std::move(ops));
}

RC_GTEST_PROP(OrderConflicts, AddsTheWaitsThatTheDefinitionAdds, ()) {
  Schedule schedule = DrawLongSchedule();
  Schedule pairwise = schedule;
  OrderConflicts(schedule);
  OrderConflictsPairwise(pairwise);
  for (size_t i = 0; i < schedule.ops.size(); ++i) {
    RC_ASSERT(schedule.ops[i].waits == pairwise.ops[i].waits);
  }
}

RC_GTEST_PROP(CheckHazards, SaysWhatTheDefinitionSays, ()) {
  Schedule schedule = DrawLongSchedule();
  RC_ASSERT(CheckHazards(schedule).ToString() == CheckHazardsPairwise(schedule).ToString());
  OrderConflicts(schedule);
  // Without one of the waits that it has.
  ScheduledOp& op = schedule.ops[*rc::gen::inRange<size_t>(0, schedule.ops.size())];
  if (!op.waits.empty()) op.waits.pop_back();
  const Status status = CheckHazards(schedule);
  RC_CLASSIFY(status.ok());
  RC_ASSERT(status.ToString() == CheckHazardsPairwise(schedule).ToString());
}

// Against the definition: buffers that share bytes are used one wholly before the other.
RC_GTEST_PROP(CheckHazards, FindsSharedBytesThatAreUsedAtOneTime, ()) {
  constexpr int kBuffers = 5;
  std::vector<ScheduledOp> ops;
  const int n = *rc::gen::inRange(1, 14);
  for (int i = 0; i < n; ++i) {
    const auto stream = *rc::gen::element(Stream::kCompute, Stream::kCommunication);
    // Mostly in turn, so that not all is used at one time.
    const int buffer = std::clamp(i * kBuffers / n + *rc::gen::inRange(-1, 2), 0, kBuffers - 1);
    ops.push_back(Touch(stream, {}, {MatrixView(buffer, 0, 1, 24, 24, 1)}, ""));
  }
  Schedule schedule = WithOps(std::move(ops));
  schedule.buffers.clear();
  for (int b = 0; b < kBuffers; ++b) {
    schedule.buffers.push_back({"b", DType::kFloat32, 24, *rc::gen::inRange(0, 12) * 16});
  }
  OrderConflicts(schedule);
  for (int i = 1; i < n; ++i) {
    if (*rc::gen::inRange(0, 3) > 0) schedule.ops[i].waits.push_back(*rc::gen::inRange(0, i));
  }
  StepOrder order(schedule);
  for (int i = 0; i < n; ++i) order.Add();
  bool shared = false;
  bool wrong = false;
  for (int a = 0; a < n; ++a) {
    for (int b = 0; b < a; ++b) {
      const BufferId x = schedule.ops[a].writes[0].buffer;
      const BufferId y = schedule.ops[b].writes[0].buffer;
      if (x == y || std::abs(schedule.buffers[x].offset - schedule.buffers[y].offset) >= 24 * 4) {
        continue;
      }
      shared = true;
      // Any use of y before any of x, and the other way round, is one at a time only if it is so
      // for all of them.
      wrong = wrong || !order.IsBefore(b, a);
      for (int c = 0; c < n; ++c) {
        wrong = wrong || (schedule.ops[c].writes[0].buffer == y && c > a);
      }
    }
  }
  RC_CLASSIFY(shared && !wrong);
  RC_ASSERT(CheckHazards(schedule).ok() == !wrong);
}

// "y" and "z" have the same bytes.
Schedule Shared(std::vector<ScheduledOp> ops) {
  Schedule schedule = WithOps(std::move(ops));
  schedule.buffers[0].offset = 0;
  schedule.buffers[1].offset = 32;
  return schedule;
}

TEST(CheckHazards, LetsBuffersShareBytesOneAfterTheOther) {
  const Stream a = Stream::kCompute;
  const Stream b = Stream::kCommunication;
  EXPECT_TRUE(CheckHazards(Shared({Touch(a, {}, {kY}, ""), Touch(a, {}, {Z()}, "")})).ok());
  // Not at the same time, and not the first one again.
  EXPECT_THAT(
      CheckHazards(Shared({Touch(a, {}, {kY}, "u"), Touch(b, {}, {Z()}, "v")})).message(),
      HasSubstr("op 1 (copy 'v' on communication) uses buffer 'z', which has memory of 'y', "
                "and no wait says that all who use that have ended"));
  EXPECT_THAT(
      CheckHazards(
          Shared({Touch(a, {}, {kY}, "u"), Touch(a, {}, {Z()}, "v"), Touch(a, {kY}, {}, "w")}))
          .message(),
      HasSubstr("op 2 (copy 'w' on compute) uses buffer 'y', whose memory is that of 'z' by "
                "then"));
  // An op does not read and write the same bytes.
  EXPECT_FALSE(CheckHazards(Shared({Touch(a, {}, {kY}, ""), Touch(a, {kY}, {Z()}, "")})).ok());
  // Every use must be behind, not just the first.
  Schedule late = Shared({Touch(a, {}, {kY}, ""), Touch(a, {}, {Z()}, ""), Touch(b, {}, {}, ""),
                          Touch(b, {Z()}, {}, "")});
  late.ops[3].waits = {1};
  EXPECT_TRUE(CheckHazards(late).ok());
  // A third buffer in memory of which two had a part.
  Schedule third = Shared({Touch(a, {}, {kY}, ""), Touch(b, {}, {Z()}, ""), Touch(a, {}, {}, "t")});
  third.buffers[1].offset = 96;
  third.buffers.push_back({"t", DType::kFloat32, 24, 48});
  third.ops[2].writes = {kY};
  third.ops[2].writes[0].buffer = 2;
  EXPECT_THAT(CheckHazards(third).message(), HasSubstr("which has memory of 'z'"));
  third.ops[2].waits = {1};
  EXPECT_TRUE(CheckHazards(third).ok());
}

TEST(CheckHazards, LetsNobodyShareWithWhatIsBound) {
  for (BufferId bound : {0, 1}) {
    Schedule schedule =
        Shared({Touch(Stream::kCompute, {}, {kY}, ""), Touch(Stream::kCompute, {}, {Z()}, "")});
    Binding binding;
    binding.view = bound == 0 ? kY : Z();
    schedule.bindings = {binding};
    EXPECT_THAT(CheckHazards(schedule).message(),
                HasSubstr("which is read or written from outside"));
  }
}

}  // namespace
}  // namespace tp
