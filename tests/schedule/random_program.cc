#include "tests/schedule/random_program.h"

#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/ops/trial.h"
#include "tests/schedule/draw_operands.h"
#include "tp/core/bounded.h"
#include "tp/ops/ops.h"

namespace tp {
namespace {

std::string Numbered(std::string name, int number) { return name.append(std::to_string(number)); }

const std::vector<Placement> kPlacements = {Replicate(), Shard(0), Shard(1), Partial(),
                                            Shard(2),    Shard(3), Shard(4), Shard(5)};
const Axis kKv = Axis::Named("kv").value();
constexpr int64_t kMostElements = 200;
constexpr int kOfTheLinearLayer = 15, kKinds = 30;  // kinds of what is drawn; those beyond: any op
constexpr int64_t kMostTerms = 24;                  // of a sum

// Double, but for some bits to spare: what has no error here has none in another order of ops.
Rounding Spared() {
  Rounding rounding = RoundingOf(DType::kFloat64);
  rounding.capacity = 0x1p40;
  return rounding;
}

class Drawing {
 public:
  explicit Drawing(const ProgramLimits& limits) : limits_(limits) {}

  RandomProgram Run() {
    sizes_['m'] = sizes_['p'] = *rc::gen::inRange<int64_t>(1, 6);
    sizes_['n'] = *rc::gen::inRange<int64_t>(1, 6);
    for (char letter : std::string("uvwxyz")) sizes_[letter] = *rc::gen::inRange<int64_t>(1, 4);
    const int sources = *rc::gen::inRange(1, 5);
    for (int i = 0; i < sources; ++i) DrawSource(i);
    RC_ASSERT(IsComputed(drawn_));
    const int ops = *rc::gen::inRange(1, limits_.ops + 1);
    for (int i = 0; i < ops; ++i) DrawOp(Numbered("v", i));
    const auto last = static_cast<ValueId>(drawn_.program.values().size()) - 1;
    for (ValueId id = 0; id <= last; ++id) {
      if (id != last && !*rc::gen::arbitrary<bool>()) continue;
      Program trial = drawn_.program;
      trial.AddResult(id);
      if (Verify(trial).ok()) drawn_.program = std::move(trial);
    }
    return std::move(drawn_);
  }

 private:
  ValueId DrawValue() {
    return *rc::gen::inRange(0, static_cast<int>(drawn_.program.values().size()));
  }
  Phase DrawPhase() {
    return *rc::gen::element(Phase::kForward, Phase::kBackward, Phase::kGradientSync,
                             Phase::kOptimizer);
  }

  Shape ShapeOf(const std::string& dims) const {
    Shape shape;
    for (char letter : dims) shape.push_back(sizes_.at(letter));
    return shape;
  }

  // Some of these letters in any order, for a value of few elements.
  std::string DrawDims(std::string from) {
    std::string dims;
    while (!from.empty() && dims.size() < kMostDims) {
      const auto at = *rc::gen::inRange<size_t>(0, from.size());
      const char letter = from[at];
      from.erase(at, 1);
      if (*rc::gen::inRange(0, 3) == 0) continue;
      if (NumElements(ShapeOf(dims + letter)) <= kMostElements) dims += letter;
    }
    return dims;
  }

  // Of a value of so many dimensions, one of which several axes may cut, in any order.
  Placements DrawPlacements(size_t dims) {
    static const std::vector<std::vector<Axis>> kOrders = {{Axis::kTp, Axis::kDp, kKv},
                                                           {Axis::kDp, Axis::kTp, kKv},
                                                           {Axis::kDp, kKv, Axis::kTp},
                                                           {kKv, Axis::kDp, Axis::kTp}};
    const std::vector<Axis> order = *rc::gen::elementOf(kOrders);
    Placements placements;
    for (const Axis& axis : order) {
      if (axis == kKv && *rc::gen::inRange(0, 3) > 0) continue;
      const Placement placement = *rc::gen::elementOf(kPlacements);
      if (!IsShard(placement) || placement.dim < static_cast<int>(dims)) {
        placements.Set(axis, placement);
      }
    }
    return placements;
  }

  void DrawSource(int i) {
    const auto add = *rc::gen::arbitrary<bool>() ? AddParameter : AddInput;
    const std::string dims = *rc::gen::arbitrary<bool>()
                                 ? *rc::gen::element<std::string>("mn", "nm", "mp", "m", "n")
                                 : DrawDims("mnpxyz");
    dims_.push_back(dims);
    const Shape shape = ShapeOf(dims);
    const std::string name = Numbered("s", i);
    const Value value{name, shape, limits_.dtype, DrawPlacements(shape.size())};
    RC_ASSERT(add(drawn_.program, value).ok());
    drawn_.sources[name] = [i](int64_t index) {
      return static_cast<double>((index * 5 + i * 3) % 7 - 3);
    };
  }

  // Most choices of operands fit no rule, so some are tried.
  void DrawOp(const std::string& name) {
    constexpr int kTrials = 10;
    for (int i = 0; i < kTrials; ++i) {
      RandomProgram trial = drawn_;
      std::vector<std::string> dims = dims_;
      const int kind = *rc::gen::inRange(0, kKinds);
      const bool heavy = kind < 5;  // what multiplies values
      if (heavy && heavy_ops_ == limits_.products) continue;
      const Phase phase = DrawPhase();
      const ValueId a = DrawValue();
      const ValueId b = DrawValue();
      if (kind >= kOfTheLinearLayer) {
        if (!AddAny(trial, dims, name, phase)) continue;
      } else {
        const StatusOr<ValueId> out = AddOne(trial.program, kind, name, phase, a, b);
        if (!out.ok() || trial.program.value(*out).name != name) continue;
        dims.push_back(out_dims_);
      }
      if (!Verify(trial.program).ok() || !IsComputed(trial)) continue;
      drawn_ = std::move(trial);
      dims_ = std::move(dims);
      heavy_ops_ += heavy ? 1 : 0;
      return;
    }
  }

  // Any op of the list but products, whose letters are their own.
  bool AddAny(RandomProgram& trial, std::vector<std::string>& dims, const std::string& name,
              Phase phase) {
    const OpDef& def = **rc::gen::elementOf(AllOps());
    if (def.letters.empty()) return false;
    const Attributes attributes = *rc::gen::elementOf(AttributesToTry(def, ""));
    OperandDrawing operands(def, sizes_, limits_.dtype, trial, dims);
    const std::optional<std::vector<ValueId>> inputs = operands.Run();
    if (!inputs) return false;
    std::vector<std::string> names = {name};
    const std::vector<std::string> outputs = operands.OutputDims();
    while (names.size() < outputs.size())
      names.push_back(Numbered(name + ".", static_cast<int>(names.size())));
    dims.insert(dims.end(), outputs.begin(), outputs.end());
    return AddOp(trial.program, phase, names, def, *inputs, attributes).ok();
  }

  // Works out what `trial` has more than what was drawn; whether it is what the limits ask for.
  bool IsComputed(const RandomProgram& trial) {
    const RoundingScope scope(Spared());
    const Program& program = trial.program;
    const size_t known = values_.size();
    values_.resize(program.values().size());
    for (size_t i = drawn_ops_; i < program.ops().size(); ++i) {
      const Op& op = program.ops()[i];
      Compute(trial, op);
      if (std::ranges::all_of(op.outputs, [&](ValueId id) {
            return std::ranges::all_of(values_[id], [&](const BoundedNumber& x) {
              return std::isfinite(x.value) && (!limits_.exact || x.error == 0);
            });
          })) {
        continue;
      }
      values_.resize(known);
      return false;
    }
    drawn_ops_ = program.ops().size();
    return true;
  }

  void Compute(const RandomProgram& trial, const Op& op) {
    const Value& first = trial.program.value(op.outputs[0]);
    if (op.IsSource()) {
      for (int64_t i = 0; i < NumElements(first.shape); ++i) {
        values_[op.outputs[0]].push_back(BoundedNumber::Exactly(trial.sources.at(first.name)(i)));
      }
      return;
    }
    std::vector<std::vector<BoundedNumber>> in;
    std::vector<Shape> shapes;
    for (ValueId id : op.inputs) {
      in.push_back(values_[id]);
      shapes.push_back(trial.program.value(id).shape);
    }
    if (op.Is(kRedistribute)) {
      values_[op.outputs[0]] = std::move(in[0]);
      return;
    }
    auto out = EvaluateOp(*op.def, op.attributes, shapes, std::move(in));
    for (size_t k = 0; k < out.size(); ++k) values_[op.outputs[k]] = std::move(out[k]);
  }

  StatusOr<ValueId> AddOne(Program& program, int kind, const std::string& name, Phase phase,
                           ValueId a, ValueId b) {
    out_dims_ = dims_[a];
    switch (kind) {
      case 0: {
        const bool transpose_a = *rc::gen::arbitrary<bool>();
        const bool transpose_b = *rc::gen::arbitrary<bool>();
        if (dims_[a].size() == 2 && dims_[b].size() == 2) {
          out_dims_ = {dims_[a][transpose_a ? 1 : 0], dims_[b][transpose_b ? 0 : 1]};
        }
        return AddMatMul(program, phase, name, a, b, {transpose_a, transpose_b});
      }
      case 1:
      case 2:
        return AddProduct(program, name, phase, a, b);
      case 3:
        out_dims_ = "";
        return AddMseLoss(program, phase, name, a, b, 0.5);
      case 4:
        return AddMseGrad(program, phase, name, a, b, 0.5);
      case 5:
        return AddBias(program, phase, name, a, b);
      case 6:
        if (!out_dims_.empty()) out_dims_.erase(0, 1);
        return AddSumRows(program, phase, name, a);
      case 7:
        return AddSgdUpdate(program, phase, name, a, b, 0.5);
      case 8:
        return AddOp(program, phase, name, kAdd, {a, DrawValueLike(a)});
      default: {
        const Axis axis = *rc::gen::element(Axis::kTp, Axis::kDp, kKv);
        return AddRedistribute(program, phase, name, a, axis, *rc::gen::elementOf(kPlacements));
      }
    }
  }

  // Of any letters that the values have.
  StatusOr<ValueId> AddProduct(Program& program, const std::string& name, Phase phase, ValueId a,
                               ValueId b) {
    std::string all = dims_[a];
    for (char letter : dims_[b]) {
      if (all.find(letter) == std::string::npos) all += letter;
    }
    out_dims_ = DrawDims(all);
    std::string summed = all;
    std::erase_if(summed, [&](char c) { return out_dims_.find(c) != std::string::npos; });
    if (NumElements(ShapeOf(summed)) > kMostTerms) return InvalidArgument("too large a sum");
    std::vector<ValueId> inputs = {a, b};
    std::string factors = dims_[a] + "," + dims_[b];
    const std::vector<ValueId> terms = ValuesOf([&](const std::string& dims) {
      return dims.find_first_not_of(out_dims_) == std::string::npos;  // nothing to sum over
    });
    if (!terms.empty() && *rc::gen::arbitrary<bool>()) {
      inputs.push_back(*rc::gen::elementOf(terms));
      factors += " + " + dims_[inputs[2]];
    }
    return AddOp(program, phase, name, kMatMul, inputs,
                 {{"letters", factors + " -> " + out_dims_}});
  }

  // One of the same dimensions: a sum of two values is then more than a rare find.
  ValueId DrawValueLike(ValueId value) {
    return *rc::gen::elementOf(
        ValuesOf([&](const std::string& dims) { return dims == dims_[value]; }));
  }

  template <typename Fits>
  std::vector<ValueId> ValuesOf(const Fits& fits) const {
    std::vector<ValueId> values;
    for (size_t i = 0; i < dims_.size(); ++i) {
      if (fits(dims_[i])) values.push_back(static_cast<ValueId>(i));
    }
    return values;
  }

  const ProgramLimits limits_;
  RandomProgram drawn_;
  std::map<char, int64_t> sizes_;
  std::vector<std::string> dims_;  // by value: what its dimensions are called
  std::string out_dims_;           // of the op that is drawn
  std::vector<std::vector<BoundedNumber>> values_;
  size_t drawn_ops_ = 0;  // of which values are known
  int heavy_ops_ = 0;
};

}  // namespace

RandomProgram DrawProgram(const ProgramLimits& limits) { return Drawing(limits).Run(); }

Mesh DrawMesh() {
  if (*rc::gen::arbitrary<bool>()) {
    const int tp = *rc::gen::inRange(1, 5);
    const int dp = *rc::gen::inRange(1, 4);
    return Mesh::Create(tp, dp).value();
  }
  const int tp = *rc::gen::inRange(1, 4);
  const int kv = *rc::gen::inRange(1, 4);
  const int dp = *rc::gen::inRange(1, 3);
  return Mesh::Create({{"tp", tp}, {"kv", kv}, {"dp", dp}}).value();
}

std::string Describe(const Mesh& mesh) {
  std::string text;
  for (const Axis& axis : mesh.axes()) {
    text +=
        (text.empty() ? "" : " ") + std::string(Name(axis)) + " " + std::to_string(mesh.Size(axis));
  }
  return text;
}

bool SplitsIntoBlocks(const Mesh& mesh) {
  return std::ranges::all_of(
      mesh.axes(), [&](const Axis& axis) { return tp::SplitsIntoBlocks(mesh.Size(axis)); });
}

}  // namespace tp
