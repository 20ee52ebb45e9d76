// A training run against the same steps in plain loops: which tokens, which rates, which scalars.
#include "tools/train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/model/small_transformer.h"
#include "tests/program/evaluate.h"
#include "tests/tools/command.h"
#include "tp/huggingface/config.h"
#include "tp/model/initial.h"
#include "tp/optim/loss_scale.h"

namespace tp::train {
namespace {

// What two implementations may differ by, in units of what our own splits do (tests/peer).
constexpr double kApart = 1000;

TransformerConfig Config() {
  TransformerConfig config = SmallTransformer();
  config.vocabulary = 256;
  config.layers = 1;
  return config;
}

TrainOptions Options(int tp) {
  TrainOptions options;
  options.engine.tp = tp;
  options.engine.dtype = DType::kFloat64;
  options.engine.seed = 4;
  options.model.batch = 4;
  options.model.sequence = 8;
  options.model.micro_batches = 2;
  options.model.within_documents = true;
  options.model.end_of_text = '.';
  options.model.weight_decay = 0.25;
  options.model.clip = 0.5;
  options.steps = 5;
  options.warmup = 2;
  options.peak_rate = 0.01;
  options.least_rate = 0.001;
  return options;
}

Text SomeText() {
  const std::string path = MakeScratchFolder() + "/text";
  std::ofstream file(path);
  for (int i = 0; i < 500; ++i) file << (i % 6 == 0 ? '.' : static_cast<char>('a' + i * i % 23));
  file.close();
  return Text::Open({path}, 256).value();
}

// What a run says: losses, norms, rates, then losses on held-out text.
std::vector<double> Trained(int tp, const Text& text) {
  const TrainOptions options = Options(tp);
  const auto backend = cpu::MakeCpuBackend({});
  const Mesh mesh = Mesh::Create(tp, 1).value();
  const hf::ModelConfig config = hf::ConfigOf(Config(), options.model.sequence);
  const auto trainer = Trainer::Create(*backend, mesh, config, options, text).value();
  EXPECT_EQ(trainer->Initialize().ToString(), "OK");
  std::vector<double> said;
  for (int64_t step = 0; step < options.steps; ++step) {
    const StepMetrics metrics = trainer->Step().value();
    EXPECT_EQ(metrics.step, step + 1);
    said.insert(said.end(), {metrics.loss, metrics.norm, metrics.rate});
    if (step % 2 == 1) said.push_back(trainer->HeldOutLoss().value().value());
  }
  return said;
}

// The same in plain loops, written out here.
class Plain {
 public:
  explicit Plain(const Text& text) : text_(text), options_(Options(1)) {
    TransformerStepOptions step;
    step.batch = options_.model.batch;
    step.sequence = options_.model.sequence;
    step.dtype = DType::kFloat64;
    step.packed = true;
    step.adamw.decay = options_.model.weight_decay;
    step.adamw.max_norm = options_.model.clip;
    adamw_ = step.adamw;
    step_ = MakeTransformerStep(Config(), step, mesh_).value();
    forward_ = MakeTransformerForward(Config(), step, mesh_).value();
    for (const Op& op : step_.ops()) {
      if (!op.Is(kParameter)) continue;
      const Value& value = step_.value(op.outputs[0]);
      const auto element = InitialValue(Config(), value.name, options_.engine.seed);
      auto& values = parameters_[value.name];
      for (int64_t i = 0; i < NumElements(value.shape); ++i) values.push_back(element(i));
    }
  }

  std::vector<double> Run() {
    const auto order =
        BatchOrder::Create(text_.size() - text_.size() / 10, 8, options_.engine.seed).value();
    // Up to the peak in two steps, then down along half a cosine in those that are left.
    const auto cosine = [](int64_t i) { return 0.001 + 0.0045 * (1 + std::cos(M_PI * i / 3)); };
    const double rates[] = {0.005, 0.01, cosine(1), cosine(2), 0.001};
    std::vector<double> said;
    for (int64_t step = 0; step < options_.steps; ++step) {
      std::vector<int64_t> begins;
      for (int64_t row = 0; row < 4; ++row) begins.push_back(order.Begin(step * 4 + row));
      const auto [loss, norm] = Step(begins, rates[step], step + 1);
      said.insert(said.end(), {loss, norm, rates[step]});
      if (step % 2 == 1) said.push_back(HeldOut());
    }
    return said;
  }

 private:
  using Numbers = std::vector<double>;

  // Tokens and what is said of them; -1 where nothing is to be learned. Returns how many count.
  int64_t Feed(const std::vector<int64_t>& begins, ElementSources& sources) const {
    const auto given = std::make_shared<std::map<std::string, Numbers>>();
    int64_t counted = 0;
    for (int64_t begin : begins) {
      std::vector<int32_t> row(9);
      EXPECT_TRUE(text_.Read(begin, row).ok());
      int64_t start = 0;
      for (int64_t i = 0; i < 8; ++i) {
        const bool ends = row[static_cast<size_t>(i)] == '.';
        (*given)["tokens"].push_back(row[static_cast<size_t>(i)]);
        (*given)["targets"].push_back(ends ? -1 : row[static_cast<size_t>(i + 1)]);
        (*given)["starts"].push_back(static_cast<double>(start));
        if (ends) start = i + 1;
        counted += ends ? 0 : 1;
      }
    }
    for (const auto& [name, values] : *given) {
      sources[name] = [given, name = name](int64_t i) {
        const Numbers& all = given->at(name);
        return i < static_cast<int64_t>(all.size()) ? all[static_cast<size_t>(i)] : -1;
      };
    }
    return counted;
  }

  ElementSources Parameters() const {
    ElementSources sources;
    for (const auto& [name, values] : parameters_) {
      sources[name] = [&values](int64_t i) { return values[static_cast<size_t>(i)]; };
    }
    return sources;
  }

  std::pair<double, double> Step(const std::vector<int64_t>& begins, double rate, int64_t count) {
    ElementSources sources = Parameters();
    const double weight = 1 / static_cast<double>(Feed(begins, sources));
    sources["weights"] = [weight](int64_t) { return weight; };
    const double n = static_cast<double>(count);
    sources[kRateInput] = [=](int64_t) { return rate; };
    const double moment = 1 / (1 - std::pow(adamw_.beta_moment, n));
    const double square = 1 / (1 - std::pow(adamw_.beta_square, n));
    sources[kMomentCorrectionInput] = [=](int64_t) { return moment; };
    sources[kSquareCorrectionInput] = [=](int64_t) { return square; };
    const std::vector<Numbers> values = Evaluate(step_, sources);
    double squares = 0;
    for (auto& [name, numbers] : parameters_) {
      const StatusOr<ValueId> gradient = step_.Find("d" + name);
      for (double d : gradient.ok() ? values[*gradient] : Numbers()) squares += d * d;
      numbers = values[step_.Find(name + ".updated").value()];
    }
    return {values[step_.Find("loss").value()][0], std::sqrt(squares)};
  }

  double HeldOut() const {
    double loss = 0;
    int64_t counted = 0;
    const int64_t first = text_.size() - text_.size() / 10;
    for (int64_t window = 0; first + (window + 1) * 8 < text_.size(); ++window) {
      ElementSources sources = Parameters();
      counted += Feed({first + window * 8}, sources);
      // Of four rows that the program has, one.
      const auto only_first = [](const std::function<double(int64_t)>& source, double rest) {
        return [=](int64_t i) { return i < 8 ? source(i) : rest; };
      };
      sources["tokens"] = only_first(sources["tokens"], 0);
      sources["starts"] = only_first(sources["starts"], 0);
      sources["weights"] = [](int64_t) { return 1.0; };
      loss += Evaluate(forward_, sources)[forward_.Find("loss").value()][0];
    }
    return loss / static_cast<double>(counted);
  }

  const Text& text_;
  const TrainOptions options_;
  const Mesh mesh_ = Mesh::Create(1, 1).value();
  AdamWOptions adamw_;
  Program step_, forward_;
  std::map<std::string, Numbers> parameters_;
};

TEST(TrainerTest, IsWhatPlainLoopsAre) {
  const Text text = SomeText();
  const std::vector<double> one = Trained(1, text), three = Trained(3, text);
  const std::vector<double> plain = Plain(text).Run();
  ASSERT_EQ(one.size(), plain.size());
  double apart = 0;
  for (size_t i = 0; i < one.size(); ++i) apart = std::max(apart, std::abs(one[i] - three[i]));
  EXPECT_GT(apart, 0);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_LE(std::abs(one[i] - plain[i]), kApart * apart)
        << i << ": " << one[i] << " " << plain[i];
  }
}

// Writes a scalar of a checkpoint's optimizer.
void Patch(const std::string& folder, const std::string& name, float value) {
  const std::string path = folder + "/optimizer.safetensors";
  std::string bytes = ReadWholeFile(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto header = nlohmann::json::parse(bytes.substr(sizeof length, length));
  const auto begin = header.at(name).at("data_offsets").at(0).get<uint64_t>();
  std::memcpy(bytes.data() + sizeof length + length + begin, &value, sizeof value);
  std::ofstream(path, std::ios::binary) << bytes;
}

struct Fp16Run {
  const Text text = SomeText();
  std::unique_ptr<Backend> backend = cpu::MakeCpuBackend({});
  Mesh mesh = Mesh::Create(2, 1).value();
  hf::ModelConfig config;
  TrainOptions options = Options(2);
  std::unique_ptr<Trainer> trainer;
  std::string folder = MakeScratchFolder() + "/saved";

  Fp16Run() {
    options.engine.dtype = DType::kFloat16;
    options.steps = 40;
    config = hf::ConfigOf(Config(), options.model.sequence);
    trainer = Trainer::Create(*backend, mesh, config, options, text).value();
    EXPECT_EQ(trainer->Initialize().ToString(), "OK");
  }

  // As if training had come to that scale.
  void Scale(float scale, float inverse) {
    EXPECT_EQ(trainer->Save(folder).ToString(), "OK");
    Patch(folder, kLossScaleParameter, scale);
    Patch(folder, kLossScaleInverse, inverse);
    EXPECT_EQ(trainer->Load(folder).ToString(), "OK");
  }
};

TEST(TrainerTest, SkipsStepsInFp16UntilTheScaleFits) {
  Fp16Run run;
  const StepMetrics first = run.trainer->Step().value();
  EXPECT_FALSE(first.skipped);
  EXPECT_EQ(first.loss_scale, kFirstLossScale);

  run.Scale(0x1p24F, 0x1p-24F);
  double scale = 0x1p24;
  StepMetrics metrics = run.trainer->Step().value();
  EXPECT_TRUE(metrics.skipped);
  EXPECT_TRUE(std::isfinite(metrics.loss));
  for (; metrics.skipped && scale > 1; metrics = run.trainer->Step().value()) {
    scale /= 2;
    EXPECT_EQ(metrics.loss_scale, scale);
  }
  EXPECT_FALSE(metrics.skipped);
  EXPECT_TRUE(std::isfinite(metrics.norm));
  EXPECT_EQ(metrics.loss_scale, scale);
}

TEST(TrainerTest, GivesUpInFp16WhereTheLeastScaleWasTried) {
  Fp16Run run;
  run.Scale(4, 1e30F);  // the squares of such gradients leave the range at any scale
  for (double next : {2, 1}) {
    const StatusOr<StepMetrics> metrics = run.trainer->Step();
    ASSERT_EQ(metrics.status().ToString(), "OK");
    EXPECT_TRUE(metrics->skipped);
    EXPECT_EQ(metrics->loss_scale, next);
  }
  const Status gave_up = run.trainer->Step().status();
  EXPECT_EQ(gave_up.code(), StatusCode::kFailedPrecondition) << gave_up.ToString();
}

}  // namespace
}  // namespace tp::train
