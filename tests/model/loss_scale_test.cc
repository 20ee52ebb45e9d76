// A step in fp16, whose loss is scaled: it means what a step without does, keeps gradients that
// fp16 has no numbers for, and skips what leaves its range.
#include "tp/optim/loss_scale.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/model/small_transformer.h"
#include "tests/program/evaluate.h"
#include "tp/passes/micro_batches.h"
#include "tp/runtime/session.h"

namespace tp {
namespace {

Program StepIn(DType dtype, const Mesh& mesh, int micro_batches) {
  TransformerStepOptions options = SmallStep();
  options.dtype = dtype;
  options.adamw.max_norm = 0.5;
  options.micro_batches = micro_batches;
  StatusOr<Program> program = MakeTransformerStep(SmallTransformer(), options, mesh);
  EXPECT_EQ(program.status().ToString(), "OK");
  return *std::move(program);
}

// By name, in doubles: the loss, and what is updated.
std::map<std::string, std::vector<double>> Meaning(const Program& program) {
  const auto values = Evaluate(program, SourcesOf(program, SmallTransformer()));
  std::map<std::string, std::vector<double>> meaning;
  for (const char* name : {"loss", kSquaresOfGradients}) {
    meaning[name] = values[program.Find(name).value()];
  }
  for (const Op& op : program.ops()) {
    for (int i = 0; i < op.def->updates; ++i) {
      meaning[program.value(op.outputs[i]).name] = values[op.outputs[i]];
    }
  }
  return meaning;
}

TEST(ScaledStep, MeansWhatOneWithoutDoes) {
  for (const auto& [tp, dp] : {std::pair(1, 1), {3, 1}, {2, 2}}) {
    SCOPED_TRACE(std::to_string(tp) + " x " + std::to_string(dp));
    const Mesh mesh = Mesh::Create(tp, dp).value();
    const auto scaled = Meaning(StepIn(DType::kFloat16, mesh, 1));
    const auto plain = Meaning(StepIn(DType::kBFloat16, mesh, 1));
    for (const auto& [name, values] : plain) EXPECT_EQ(scaled.at(name), values) << name;
    EXPECT_EQ(scaled.at("loss.scale.updated"), std::vector<double>{kFirstLossScale});
    EXPECT_EQ(scaled.at("loss.scale.steps.updated"), std::vector<double>{1});
  }
}

class RunningStep {
 public:
  RunningStep(const Mesh& mesh, int micro_batches, double weight)
      : program_(StepIn(DType::kFloat16, mesh, micro_batches)),
        session_(Session::Create(*backend_, mesh, program_).value()) {
    ElementSources sources = SourcesOf(program_, SmallTransformer());
    for (int piece = 0; piece < micro_batches; ++piece) {
      for (const char* name : {"tokens", "targets", "weights"}) {
        sources[MicroBatchName(name, piece)] = sources[name];
      }
      sources[MicroBatchName("weights", piece)] = [=](int64_t) { return weight; };
    }
    for (const std::string& name : session_->NamesOf(Role::kParameter)) {
      EXPECT_EQ(session_->Write(name, sources.at(name)).ToString(), "OK");
    }
    for (const std::string& name : session_->NamesOf(Role::kInput)) {
      EXPECT_EQ(session_->Feed(name, sources.at(name)).ToString(), "OK");
    }
  }

  void SetScale(double scale) {
    EXPECT_TRUE(session_->Write(kLossScaleParameter, [=](int64_t) { return scale; }).ok());
    EXPECT_TRUE(session_->Write(kLossScaleInverse, [=](int64_t) { return 1 / scale; }).ok());
  }
  void Step() { EXPECT_EQ(session_->Step().ToString(), "OK"); }
  double Scale() { return session_->Read(kLossScaleParameter).value().At(0); }
  // Of everything that is trained, the model's and the optimizer's.
  std::map<std::string, std::vector<double>> State() {
    std::map<std::string, std::vector<double>> state;
    for (const std::string& name : session_->NamesOf(Role::kParameter)) {
      if (name.starts_with(kLossScaleParameter)) continue;
      const HostTensor tensor = session_->Read(name).value();
      for (int64_t i = 0; i < NumElements(tensor.shape()); ++i) {
        state[name].push_back(tensor.At(i));
      }
    }
    return state;
  }

 private:
  const std::unique_ptr<Backend> backend_ = cpu::MakeCpuBackend({});
  const Program program_;
  const std::unique_ptr<Session> session_;
};

// Half of fp16's least number: what each token's logits can have as a gradient, at most.
constexpr double kTooSmall = 0x1p-25;

TEST(ScaledStep, KeepsGradientsThatFp16HasNoNumberFor) {
  for (int micro_batches : {1, 3}) {
    RunningStep step(Mesh::Create(2, 1).value(), micro_batches, kTooSmall);
    const auto before = step.State();
    step.SetScale(1);
    step.Step();
    const auto vanished = step.State();
    EXPECT_EQ(vanished.at("layers.0.mlp.up.weight.moment"),
              before.at("layers.0.mlp.up.weight.moment"));
    step.SetScale(kFirstLossScale);
    step.Step();
    EXPECT_NE(step.State().at("layers.0.mlp.up.weight.moment"),
              before.at("layers.0.mlp.up.weight.moment"));
  }
}

TEST(ScaledStep, ChangesNothingWhereGradientsLeaveTheRange) {
  for (int micro_batches : {1, 3}) {
    RunningStep step(Mesh::Create(2, 1).value(), micro_batches, 1);
    const auto before = step.State();
    step.SetScale(0x1p24);
    step.Step();
    EXPECT_EQ(step.Scale(), 0x1p23);
    EXPECT_EQ(step.State(), before);
    step.SetScale(1);
    step.Step();
    EXPECT_NE(step.State(), before);
  }
}

}  // namespace
}  // namespace tp
