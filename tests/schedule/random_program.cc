#include "tests/schedule/random_program.h"

#include <rapidcheck.h>

#include <string>
#include <vector>

#include "tp/ops/ops.h"

namespace tp {
namespace {

std::string Numbered(std::string name, int number) { return name.append(std::to_string(number)); }

const std::vector<Placement> kPlacements = {Replicate(), Shard(0), Shard(1), Partial()};

class Drawing {
 public:
  RandomProgram Run() {
    m_ = *rc::gen::inRange<int64_t>(1, 6);
    n_ = *rc::gen::inRange<int64_t>(1, 6);
    const int sources = *rc::gen::inRange(1, 5);
    for (int i = 0; i < sources; ++i) DrawSource(i);
    const int ops = *rc::gen::inRange(1, 14);
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

  void DrawSource(int i) {
    const auto add = *rc::gen::arbitrary<bool>() ? AddParameter : AddInput;
    const Shape shape =
        *rc::gen::element(Shape{m_, n_}, Shape{n_, m_}, Shape{m_, m_}, Shape{m_}, Shape{n_});
    std::vector<Program> choices;
    const std::string name = Numbered("s", i);
    for (Placement tp : kPlacements) {
      for (Placement dp : kPlacements) {
        Program trial = drawn_.program;
        if (add(trial, Value{name, shape, DType::kFloat32, Placements(tp, dp)}).ok()) {
          choices.push_back(std::move(trial));
        }
      }
    }
    drawn_.program = choices[*rc::gen::inRange<size_t>(0, choices.size())];
    drawn_.sources[name] = [i](int64_t index) {
      return static_cast<double>((index * 5 + i * 3) % 7 - 3);
    };
  }

  // Most choices of operands fit no rule, so some are tried.
  void DrawOp(const std::string& name) {
    constexpr int kTrials = 10;
    for (int i = 0; i < kTrials; ++i) {
      Program trial = drawn_.program;
      const int kind = *rc::gen::inRange(0, 14);
      const bool heavy = kind < 5;  // what multiplies values
      if (heavy && heavy_ops_ == 3) continue;
      const Phase phase = DrawPhase();
      const ValueId a = DrawValue();
      const ValueId b = DrawValue();
      const StatusOr<ValueId> out = AddOne(trial, kind, name, phase, a, b);
      if (!out.ok() || trial.value(*out).name != name || !Verify(trial).ok()) continue;
      drawn_.program = std::move(trial);
      heavy_ops_ += heavy ? 1 : 0;
      return;
    }
  }

  StatusOr<ValueId> AddOne(Program& program, int kind, const std::string& name, Phase phase,
                           ValueId a, ValueId b) {
    switch (kind) {
      case 0:
      case 1:
      case 2: {
        const bool transpose_a = *rc::gen::arbitrary<bool>();
        const bool transpose_b = *rc::gen::arbitrary<bool>();
        return AddMatMul(program, phase, name, a, b, {transpose_a, transpose_b});
      }
      case 3:
        return AddMseLoss(program, phase, name, a, b, 0.5);
      case 4:
        return AddMseGrad(program, phase, name, a, b, 0.5);
      case 5:
        return AddBias(program, phase, name, a, b);
      case 6:
        return AddSumRows(program, phase, name, a);
      case 7:
        return AddSgdUpdate(program, phase, name, a, b, 0.5);
      default: {
        const Axis axis = *rc::gen::element(Axis::kTp, Axis::kDp);
        return AddRedistribute(program, phase, name, a, axis, *rc::gen::elementOf(kPlacements));
      }
    }
  }

  RandomProgram drawn_;
  int64_t m_ = 1;
  int64_t n_ = 1;
  int heavy_ops_ = 0;
};

}  // namespace

RandomProgram DrawProgram() { return Drawing().Run(); }

Mesh DrawMesh() {
  const int tp = *rc::gen::inRange(1, 5);
  const int dp = *rc::gen::inRange(1, 4);
  return Mesh::Create(tp, dp).value();
}

}  // namespace tp
