// Every redistribute there is, alone: from and to any placement, of tensors of up to six
// dimensions, on each axis of meshes of two and three, whatever the other axes do, and where they
// cut the same dimension in any order; for values that are fed and values that are computed, used
// once or once more.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "tests/core/sanitized.h"
#include "tests/program/programs.h"
#include "tests/schedule/interpreter.h"
#include "tests/schedule/soundness.h"
#include "tp/core/collective.h"
#include "tp/ops/ops.h"
#include "tp/program/typing.h"

namespace tp {
namespace {

enum class Origin { kInput, kComputed };
enum class OtherUse { kNone, kResult, kReadBefore, kReadAfter };

struct Case {
  Axis axis;
  Placement from;
  Placement to;
  Placements others;  // on the other axes
  Shape shape;
  Origin origin;
  OtherUse other_use;
};

std::string Describe(const Case& c) {
  return std::string(Name(c.axis)) + " " + ToString(c.from) + " -> " + ToString(c.to) + ", other " +
         ToString(c.others) + ", " + ToString(c.shape) + ", origin " +
         std::to_string(static_cast<int>(c.origin)) + ", other use " +
         std::to_string(static_cast<int>(c.other_use));
}

Sources MakeSources() {
  const auto source = [](int64_t salt) {
    return [salt](int64_t i) { return static_cast<double>((i * 7 + salt) % 13 - 6); };
  };
  return {{"v", source(1)}, {"before", source(1)}, {"bias", source(4)}};
}

// "v" with the case's placements: fed, or the output of an op that keeps placements.
StatusOr<ValueId> AddOrigin(Program& program, const Case& c) {
  Placements placements = c.others;
  placements.Set(c.axis, c.from);  // within what the others cut of its dimension
  if (c.origin == Origin::kInput) {
    return AddInput(program, Value{"v", c.shape, DType::kFloat32, placements});
  }
  if (c.shape.size() > 2) {
    TP_ASSIGN_OR_RETURN(const ValueId before,
                        AddInput(program, Value{"before", c.shape, DType::kFloat32, placements}));
    TP_ASSIGN_OR_RETURN(const ValueId other,
                        AddInput(program, Value{"bias", c.shape, DType::kFloat32, placements}));
    return AddOp(program, Phase::kForward, "v", kAdd, {before, other});
  }
  if (c.shape.size() == 1) {  // the sum of a matrix's rows
    Placements on_matrix = placements;
    for (const Axis& axis : placements.Cutting(0)) on_matrix.Set(axis, Shard(1));
    TP_ASSIGN_OR_RETURN(
        const ValueId before,
        AddInput(program, Value{"before", {3, c.shape[0]}, DType::kFloat32, on_matrix}));
    return AddSumRows(program, Phase::kForward, "v", before);
  }
  Placements on_bias;  // as the matrix' columns lie
  for (const auto& [axis, placement] : placements.entries()) {
    if (IsShard(placement, 1)) on_bias.Set(axis, Shard(0));
    if (IsPartial(placement)) on_bias.Set(axis, Partial());
  }
  TP_ASSIGN_OR_RETURN(const ValueId before,
                      AddInput(program, Value{"before", c.shape, DType::kFloat32, placements}));
  TP_ASSIGN_OR_RETURN(const ValueId bias,
                      AddInput(program, Value{"bias", {c.shape[1]}, DType::kFloat32, on_bias}));
  return AddBias(program, Phase::kForward, "v", before, bias);
}

// Reads `v` once more; its result is called "read". Vectors are read by a redistribute, which may
// be a view of them.
StatusOr<ValueId> AddRead(Program& program, const Case& c, ValueId v) {
  if (c.shape.size() > 2) return AddOp(program, Phase::kForward, "read", kAdd, {v, v});
  if (c.shape.size() == 2) return AddSumRows(program, Phase::kForward, "read", v);
  const Axis other = c.axis == Axis::kTp ? Axis::kDp : Axis::kTp;
  const Placement to = IsReplicate(c.others[other]) ? Shard(0) : Replicate();
  return AddRedistribute(program, Phase::kForward, "read", v, other, to);
}

// The case's program; nothing where placements rule it out.
std::optional<Program> MakeProgram(const Case& c) {
  Program program;
  const StatusOr<ValueId> v = AddOrigin(program, c);
  if (!v.ok()) return std::nullopt;
  if (c.other_use == OtherUse::kReadBefore) {
    const auto read = AddRead(program, c, *v);
    if (!read.ok()) return std::nullopt;
    program.AddResult(*read);
  }
  const auto out = AddRedistribute(program, Phase::kForward, "out", *v, c.axis, c.to);
  if (!out.ok()) return std::nullopt;
  program.AddResult(*out);
  if (c.other_use == OtherUse::kReadAfter) {
    const auto read = AddRead(program, c, *v);
    if (!read.ok()) return std::nullopt;
    program.AddResult(*read);
  }
  if (c.other_use == OtherUse::kResult) program.AddResult(*v);
  return program;
}

std::vector<Placement> PlacementsOf(const Shape& shape) {
  std::vector<Placement> placements = {Replicate(), Partial()};
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    placements.push_back(Shard(static_cast<int>(dim)));
  }
  return placements;
}

// How a value may lie on `axes`, which are set in the order of the list, or in any.
void AddPlacements(const Shape& shape, const std::vector<Axis>& axes, Placements so_far,
                   std::vector<Placements>& all) {
  if (axes.empty()) {
    if (std::ranges::find(all, so_far) == all.end()) all.push_back(so_far);
    return;
  }
  for (const Axis& axis : axes) {
    std::vector<Axis> left = axes;
    std::erase(left, axis);
    for (Placement placement : PlacementsOf(shape)) {
      Placements more = so_far;
      more.Set(axis, placement);
      AddPlacements(shape, left, more, all);
    }
  }
}

std::vector<Placements> OnOthers(const Shape& shape, const Mesh& mesh, const Axis& axis) {
  std::vector<Axis> others = mesh.axes();
  std::erase(others, axis);
  std::vector<Placements> all;
  AddPlacements(shape, others, {}, all);
  return all;
}

void AddCases(const Shape& shape, const Mesh& mesh, std::vector<Case>& cases) {
  std::vector<OtherUse> uses = {OtherUse::kNone, OtherUse::kReadAfter};
  std::vector<Origin> origins = {Origin::kComputed};
  const bool few = shape.size() < (mesh.axes().size() > 2 ? 3 : 4);
  if (few) {
    uses.insert(uses.end(), {OtherUse::kResult, OtherUse::kReadBefore});
    origins.push_back(Origin::kInput);
  }
  for (const Axis& axis : mesh.axes()) {
    const std::vector<Placements> on_others = OnOthers(shape, mesh, axis);
    for (Placement from : PlacementsOf(shape)) {
      for (Placement to : PlacementsOf(shape)) {
        if (from == to || !CheckRedistribute(from, to).ok()) continue;
        for (const Placements& others : on_others) {
          for (Origin origin : origins) {
            for (OtherUse use : uses) {
              cases.push_back({axis, from, to, others, shape, origin, use});
            }
          }
        }
      }
    }
  }
}

// What is a maximum is made whole, or the shards of a whole; nothing is made a maximum of.
void AddMaxima(const Shape& shape, const Mesh& mesh, std::vector<Case>& cases) {
  const Placement max = Partial(Reduction::kMax);
  for (const Axis& axis : mesh.axes()) {
    const std::vector<Placements> on_others = OnOthers(shape, mesh, axis);
    for (Placement to : PlacementsOf(shape)) {
      EXPECT_EQ(CheckRedistribute(max, to).ok(), !IsPartial(to));
      EXPECT_FALSE(CheckRedistribute(to, max).ok());
      for (const Placements& others : on_others) {
        const bool sum = std::ranges::any_of(
            others.entries(), [](const auto& entry) { return IsPartial(entry.placement); });
        if (IsPartial(to) || sum) continue;
        for (OtherUse use : {OtherUse::kNone, OtherUse::kResult}) {
          cases.push_back({axis, max, to, others, shape, Origin::kInput, use});
        }
      }
    }
  }
}

std::vector<Case> AllCases(const Mesh& mesh) {
  std::vector<Shape> shapes = {{5, 7}, {2, 9}, {1, 1},    {4, 6},
                               {7},    {2},    {3, 2, 5}, {2, 3, 1, 2, 3, 2}};
  if (mesh.axes().size() > 2) shapes = {{5, 7}, {2, 9}, {13}, {2}, {3, 2, 5}};
  std::vector<Case> cases;
  for (const Shape& shape : shapes) {
    AddCases(shape, mesh, cases);
    AddMaxima(shape, mesh, cases);
  }
  return cases;
}

// Under a sanitizer a case takes about thirty times as long, and touches memory in the ways of many
// others.
constexpr size_t kEvery = kSanitized ? 5 : 1;

class Redistribute : public testing::TestWithParam<std::vector<NamedAxis>> {
 protected:
  Mesh mesh_ = Mesh::Create(GetParam()).value();
};

TEST_P(Redistribute, GivesEveryRankItsPart) {
  const Sources sources = MakeSources();
  size_t programs = 0;
  size_t cut_twice = 0;
  uint64_t seed = 0;
  const std::vector<Case> cases = AllCases(mesh_);
  for (size_t i = 0; i < cases.size(); i += kEvery) {
    const Case& c = cases[i];
    const std::optional<Program> program = MakeProgram(c);
    if (!program) continue;
    SCOPED_TRACE(Describe(c) + "\n" + ToString(*program));
    ++programs;
    for (const Value& value : program->values()) {
      if (value.name == "out" && IsShard(c.from) && c.others.Cutting(c.from.dim).size() > 0) {
        ++cut_twice;
      }
    }
    Interpreter interpreter(*program, mesh_);
    ASSERT_EQ(DefectOf(*program, mesh_, interpreter.schedules()), "");
    interpreter.Fill(sources);
    ASSERT_EQ(interpreter.Step(++seed).ToString(), "OK");
    const auto truth = Evaluate(*program, sources);
    for (ValueId id : program->results()) {
      const auto actual = interpreter.Read(program->value(id).name);
      ASSERT_TRUE(actual.ok()) << actual.status().ToString();
      ASSERT_EQ(*actual, truth[id]) << program->value(id).name;
    }
  }
  EXPECT_GT(programs, 1000 / kEvery);
  EXPECT_GT(cut_twice, 300 / kEvery);
}

INSTANTIATE_TEST_SUITE_P(Meshes, Redistribute,
                         testing::ValuesIn(std::vector<std::vector<NamedAxis>>{
                             {{"tp", 1}, {"dp", 1}},
                             {{"tp", 2}, {"dp", 1}},
                             {{"tp", 1}, {"dp", 3}},
                             {{"tp", 3}, {"dp", 2}},
                             {{"tp", 4}, {"dp", 3}},
                             {{"tp", 8}, {"dp", 1}},
                             {{"tp", 2}, {"kv", 2}, {"dp", 2}},
                             {{"kv", 3}, {"dp", 2}, {"tp", 1}}}),
                         [](const auto& param) {
                           std::string name;
                           for (const NamedAxis& axis : param.param) {
                             name += axis.name + std::to_string(axis.size);
                           }
                           return name;
                         });

// The table of placements and collectives.
TEST(RedistributeTable, LowersToTheCollectiveThatItSays) {
  const struct {
    Placement from, to;
    std::optional<CollectiveKind> kind;
  } table[] = {
      {Partial(), Replicate(), CollectiveKind::kAllReduce},
      {Partial(), Shard(0), CollectiveKind::kReduceScatter},
      {Partial(), Shard(1), CollectiveKind::kReduceScatter},
      {Shard(0), Replicate(), CollectiveKind::kAllGather},
      {Shard(1), Replicate(), CollectiveKind::kAllGather},
      {Shard(0), Shard(1), CollectiveKind::kAllToAll},
      {Shard(1), Shard(0), CollectiveKind::kAllToAll},
      {Replicate(), Shard(0), std::nullopt},
      {Replicate(), Shard(1), std::nullopt},
  };
  for (Axis axis : kDefaultAxes) {
    for (int members : {1, 3}) {
      const Mesh mesh =
          Mesh::Create(axis == Axis::kTp ? members : 1, axis == Axis::kDp ? members : 1).value();
      for (const auto& row : table) {
        const Case c = {axis, row.from, row.to, {}, {5, 7}, Origin::kComputed, OtherUse::kNone};
        SCOPED_TRACE(Describe(c));
        const Interpreter interpreter(*MakeProgram(c), mesh);
        std::vector<CollectiveKind> kinds;
        for (const ScheduledOp& op : interpreter.schedules()[0].ops) {
          if (op.action == Action::kCollective) kinds.push_back(op.call.kind);
        }
        std::vector<CollectiveKind> expected;
        if (row.kind && members > 1) expected = {*row.kind};
        EXPECT_EQ(kinds, expected);
      }
    }
  }
}

// What a computed value costs beside its collective: memory and copies.
TEST(RedistributeTable, GathersAndReducesInPlaceWhereItCan) {
  const struct {
    Placement from, to;
    OtherUse other_use;
    size_t buffers;  // beside "before" and "bias"
    size_t ops;      // the add_bias, the collective, copies
  } table[] = {
      {Partial(), Replicate(), OtherUse::kNone, 1, 2},
      {Partial(), Replicate(), OtherUse::kResult, 2, 2},
      {Partial(), Shard(0), OtherUse::kNone, 1, 2},
      {Partial(), Shard(1), OtherUse::kNone, 1, 2},
      {Partial(), Shard(1), OtherUse::kResult, 2, 2},
      {Shard(0), Replicate(), OtherUse::kNone, 1, 2},
      {Shard(1), Replicate(), OtherUse::kNone, 1, 2},
      {Shard(1), Replicate(), OtherUse::kResult, 1, 2},
      {Replicate(), Shard(1), OtherUse::kResult, 1, 1},
  };
  for (const auto& row : table) {
    const Case c = {Axis::kTp, row.from, row.to, {}, {5, 7}, Origin::kComputed, row.other_use};
    SCOPED_TRACE(Describe(c));
    const Interpreter interpreter(*MakeProgram(c), Mesh::Create(3, 1).value());
    for (const Schedule& schedule : interpreter.schedules()) {
      EXPECT_EQ(schedule.buffers.size(), 2 + row.buffers) << ToString(schedule);
      EXPECT_EQ(schedule.ops.size(), row.ops) << ToString(schedule);
    }
  }
}

// The first rank's part of a sum lies as the value that it was handed on from, and another order
// would suit the scatter: the zeros of the other ranks lie as it does all the same.
TEST(RedistributeTable, ZerosLieAsTheFirstRanksPart) {
  Program program;
  const Phase phase = Phase::kForward;
  const ValueId v = Input(program, "v", {2, 3}, On(Axis::kTp, Shard(0)));
  const auto to = [&](const char* name, ValueId from, Placement placement) {
    return AddRedistribute(program, phase, name, from, Axis::kTp, placement).value();
  };
  const ValueId part = to("part", to("whole", v, Replicate()), Partial());
  program.AddResult(to("scattered", part, Shard(1)));
  program.AddResult(to("again", part, Replicate()));
  Interpreter interpreter(program, Mesh::Create(2, 1).value());
  interpreter.Fill(MakeSources());
  ASSERT_TRUE(interpreter.Step(1).ok());
  const auto truth = Evaluate(program, MakeSources());
  for (ValueId id : program.results()) {
    const auto actual = interpreter.Read(program.value(id).name);
    ASSERT_TRUE(actual.ok()) << actual.status().ToString();
    EXPECT_EQ(*actual, truth[id]);
  }
}

}  // namespace
}  // namespace tp
