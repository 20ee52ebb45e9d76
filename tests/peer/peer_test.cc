// The transformer against Hugging Face's: values that make_golden.py made, in fp64 on both sides.
//
// How far two right programs in fp64 may be apart is what our own over 1 and over 3 ranks differ
// by, which round in other orders; the peer, whose order is another one still, may differ by a
// thousand times that.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tp/huggingface/checkpoint.h"
#include "tp/huggingface/config.h"
#include "tp/huggingface/names.h"
#include "tp/io/safetensors.h"
#include "tp/model/transformer.h"
#include "tp/runtime/session.h"

namespace tp {
namespace {

constexpr double kApart = 1000;
// As make_golden.py has them.
constexpr double kRates[] = {0.01, 0.02, 0.005};
constexpr AdamWOptions kAdamW = {
    .beta_moment = 0.9, .beta_square = 0.95, .eps = 1e-8, .decay = 0.1};

std::string FolderOf(const std::string& name) { return "tests/peer/" + name; }

HostTensor Golden(const std::string& model, const std::string& name) {
  auto tensor = io::ReadSafetensors(FolderOf(model) + "/golden.safetensors", name);
  EXPECT_EQ(tensor.status().ToString(), "OK");
  return *std::move(tensor);
}

// What a run or the peer has of each kind: "forward" the loss and the logits; "gradient" and
// "after" by the name of the parameter, in its own order.
using Values = std::map<std::string, std::map<std::string, std::vector<double>>>;

struct Parameter {
  std::string name;
  Shape shape;
};

// Without the optimizer's.
std::vector<Parameter> ParametersOf(const TransformerConfig& sizes,
                                    const TransformerStepOptions& options) {
  const auto program = MakeTransformerForward(sizes, options, Mesh::Create(1, 1).value());
  EXPECT_EQ(program.status().ToString(), "OK");
  std::vector<Parameter> parameters;
  for (const Op& op : program->ops()) {
    if (!op.Is(kParameter)) continue;
    const Value& value = program->value(op.outputs[0]);
    parameters.push_back({value.name, value.shape});
  }
  return parameters;
}

class Peer {
 public:
  explicit Peer(const std::string& model) : model_(model) {
    auto config = hf::ReadConfig(FolderOf(model));
    EXPECT_EQ(config.status().ToString(), "OK");
    config_ = *std::move(config);
    tokens_ = Golden(model, "tokens");
    targets_ = Golden(model, "targets");
    options_.batch = tokens_.shape()[0];
    options_.sequence = tokens_.shape()[1];
    options_.dtype = DType::kFloat64;
    options_.adamw = kAdamW;
    parameters_ = ParametersOf(config_.sizes, options_);
    options_.results = {"logits"};
    for (const Parameter& parameter : parameters_) {
      options_.results.push_back("d" + parameter.name);
    }
  }

  // What our program makes of it over `tp` ranks.
  Values Run(int tp, bool sequence_parallel) const {
    const Mesh mesh = Mesh::Create(tp, 1).value();
    TransformerStepOptions options = options_;
    options.sequence_parallel = sequence_parallel;
    const auto program = MakeTransformerStep(config_.sizes, options, mesh);
    EXPECT_EQ(program.status().ToString(), "OK");
    const auto backend = cpu::MakeCpuBackend({});
    const auto session = Session::Create(*backend, mesh, *program).value();
    Must(session->Load(FolderOf(model_),
                       hf::StorageIn(FolderOf(model_), config_, *program, hf::Load::kWeights)));
    Begin(*session);
    Values values;
    for (int step = 1; step <= static_cast<int>(std::size(kRates)); ++step) {
      FeedScalars(*session, step);
      Must(session->Step());
      if (step > 1) continue;
      values["forward"]["loss"] = session->Read("loss")->ToDoubles();
      values["forward"]["logits"] = session->Read("logits")->ToDoubles();
      for (const auto& [name, shape] : parameters_) {
        values["gradient"][name] = session->Read("d" + name)->ToDoubles();
      }
    }
    for (const auto& [name, shape] : parameters_) {
      values["after"][name] = session->Read(name)->ToDoubles();
    }
    return values;
  }

  // The peer's, in our order. Each of its elements must be one of ours, and one alone.
  Values Theirs() const {
    Values values;
    values["forward"]["loss"] = Golden(model_, "loss").ToDoubles();
    values["forward"]["logits"] = Golden(model_, "logits").ToDoubles();
    std::map<std::string, std::vector<int>> uses;  // of each element, by the tensor's name there
    for (const std::string kind : {"gradient", "after"}) {
      for (const auto& [name, shape] : parameters_) {
        const hf::Place place = hf::PlaceOf(config_.type, name, shape).value();
        const std::string there = kind + ":" + place.name;
        const HostTensor tensor = Golden(model_, there);
        EXPECT_EQ(tensor.shape(), place.shape) << there;
        uses[there].resize(tensor.size());
        std::vector<double>& ours = values[kind][name];
        for (int64_t i = 0; i < NumElements(shape); ++i) {
          const int64_t element = ElementOf(place, shape, i);
          ours.push_back(tensor.At(element));
          ++uses[there][element];
        }
      }
    }
    ExpectEachOnce(uses);
    return values;
  }

  const std::vector<Parameter>& parameters() const { return parameters_; }

 private:
  static void Must(const Status& status) { ASSERT_EQ(status.ToString(), "OK"); }

  // Element i of a parameter, in the peer's tensor.
  static int64_t ElementOf(const hf::Place& place, const Shape& shape, int64_t i) {
    int64_t element = place.begin;
    for (size_t d = shape.size(); d-- > 0;) {
      element += i % shape[d] * place.strides[d];
      i /= shape[d];
    }
    return element;
  }

  void ExpectEachOnce(const std::map<std::string, std::vector<int>>& uses) const {
    const auto entries = io::ListSafetensors(FolderOf(model_) + "/golden.safetensors");
    for (const io::SafetensorsEntry& entry : *entries) {
      if (entry.name.find(':') == std::string::npos) continue;
      const auto found = uses.find(entry.name);
      ASSERT_NE(found, uses.end()) << entry.name << " is held by nothing";
      EXPECT_EQ(found->second, std::vector<int>(found->second.size(), 1)) << entry.name;
    }
  }

  // The batch, and moments and squares as they begin.
  void Begin(Session& session) const {
    const auto counts = [&](int64_t i) { return targets_.At(i) >= 0; };
    double total = 0;
    for (int64_t i = 0; i < targets_.size(); ++i) total += counts(i);
    ASSERT_LT(total, targets_.size());
    Must(session.Feed("tokens", [&](int64_t i) { return tokens_.At(i); }));
    Must(session.Feed("targets", [&](int64_t i) { return counts(i) ? targets_.At(i) : -1.0; }));
    Must(session.Feed("weights", [&](int64_t) { return 1 / total; }));
    for (const std::string& name : session.NamesOf(Role::kParameter)) {
      if (!name.ends_with(".moment") && !name.ends_with(".square")) continue;
      Must(session.Write(name, [](int64_t) { return 0.0; }));
    }
  }

  static void FeedScalars(Session& session, int step) {
    const double moment = 1 / (1 - std::pow(kAdamW.beta_moment, step));
    const double square = 1 / (1 - std::pow(kAdamW.beta_square, step));
    Must(session.Feed(kRateInput, [&](int64_t) { return kRates[step - 1]; }));
    Must(session.Feed(kMomentCorrectionInput, [&](int64_t) { return moment; }));
    Must(session.Feed(kSquareCorrectionInput, [&](int64_t) { return square; }));
  }

  const std::string model_;
  hf::ModelConfig config_;
  HostTensor tokens_, targets_;
  TransformerStepOptions options_;
  std::vector<Parameter> parameters_;
};

double Largest(const std::vector<double>& values) {
  double largest = 0;
  for (double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

// How far two runs are apart in one kind, by name, over the largest number of the kind: a gradient
// that is none but for rounding says nothing by itself.
std::map<std::string, double> Distances(const Values& a, const Values& b, const std::string& kind) {
  double scale = 0;
  for (const auto& [name, values] : a.at(kind)) scale = std::max(scale, Largest(values));
  std::map<std::string, double> distances;
  for (const auto& [name, values] : a.at(kind)) {
    std::vector<double> difference = values;
    const std::vector<double>& other = b.at(kind).at(name);
    EXPECT_EQ(values.size(), other.size()) << kind << " " << name;
    for (size_t i = 0; i < values.size(); ++i) difference[i] -= other[i];
    distances[name] = Largest(difference) / scale;
  }
  return distances;
}

double Greatest(const std::map<std::string, double>& distances) {
  double greatest = 0;
  for (const auto& [name, distance] : distances) greatest = std::max(greatest, distance);
  return greatest;
}

class PeerTest : public testing::TestWithParam<const char*> {};

TEST_P(PeerTest, IsAsFarAwayAsRounding) {
  const Peer peer(GetParam());
  const Values one = peer.Run(1, false), three = peer.Run(3, true), theirs = peer.Theirs();
  for (const std::string kind : {"forward", "gradient", "after"}) {
    const double own = Greatest(Distances(one, three, kind));
    EXPECT_GT(own, 0) << kind;
    // Half of the digits at least: else our own would hide what the peer is to show.
    EXPECT_LT(own, std::sqrt(UnitRoundoff(DType::kFloat64))) << kind;
    const auto distances = Distances(one, theirs, kind);
    EXPECT_EQ(distances.size(), kind == "forward" ? 2 : peer.parameters().size());
    for (const auto& [name, distance] : distances) {
      EXPECT_LE(distance, kApart * own)
          << kind << " " << name << ", where our own are apart by " << own;
    }
    std::cout << GetParam() << ", " << kind << ": tp 1 and tp 3 differ by " << own
              << ", the peer by " << Greatest(distances) << "\n";
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PeerTest, testing::Values("llama", "mistral", "qwen2", "gpt2"),
                         [](const auto& info) { return std::string(info.param); });

// The text that the peer's model goes on with, always taking the likeliest token.
TEST(PeerTest, GoesOnWithTheSameText) {
  const HostTensor text = Golden("greedy", "text");
  const std::string folder = FolderOf("greedy");
  const hf::ModelConfig config = hf::ReadConfig(folder).value();
  constexpr int64_t kPrompt = 4;
  for (int tp : {1, 2, 4}) {
    const Mesh mesh = Mesh::Create(tp, 1).value();
    TransformerStepOptions options;
    options.sequence = text.size();
    options.results = {"logits"};
    const Program program = MakeTransformerForward(config.sizes, options, mesh).value();
    const auto backend = cpu::MakeCpuBackend({});
    const auto session = Session::Create(*backend, mesh, program).value();
    const Status loaded =
        session->Load(folder, hf::StorageIn(folder, config, program, hf::Load::kAll));
    ASSERT_EQ(loaded.ToString(), "OK");
    std::vector<double> ours(text.size(), 0.0);
    for (int64_t i = 0; i < kPrompt; ++i) ours[i] = text.At(i);
    for (int64_t i = kPrompt; i < text.size(); ++i) {
      ASSERT_TRUE(session->Feed("tokens", [&](int64_t j) { return ours[j]; }).ok());
      ASSERT_TRUE(session->Feed("targets", [](int64_t) { return -1.0; }).ok());
      ASSERT_TRUE(session->Feed("weights", [](int64_t) { return 0.0; }).ok());
      ASSERT_TRUE(session->Step().ok());
      const std::vector<double> logits = session->Read("logits")->ToDoubles();
      const auto row = logits.begin() + (i - 1) * config.sizes.vocabulary;
      ours[i] = static_cast<double>(std::max_element(row, row + config.sizes.vocabulary) - row);
    }
    EXPECT_EQ(ours, text.ToDoubles()) << "tp " << tp;
    EXPECT_GT(std::set<double>(ours.begin(), ours.end()).size(), 8u) << "it says one thing only";
  }
}

// What is saved has the peer's tensors, each with its bits, whoever cut it how: the package
// `transformers` loads it (check_saved.py beside this file does, by hand).
TEST(PeerTest, SavesWhatItLoaded) {
  for (const char* model : {"llama", "mistral", "qwen2", "gpt2"}) {
    const std::string from = FolderOf(model), to = testing::TempDir() + "/saved_" + model;
    const hf::ModelConfig config = hf::ReadConfig(from).value();
    const Mesh mesh = Mesh::Create(4, 1).value();
    const Program program =
        MakeTransformerForward(config.sizes, {.dtype = DType::kFloat64}, mesh).value();
    const auto backend = cpu::MakeCpuBackend({});
    const auto session = Session::Create(*backend, mesh, program).value();
    const auto storage = hf::StorageIn(from, config, program, hf::Load::kAll);
    ASSERT_EQ(session->Load(from, storage).ToString(), "OK");
    ASSERT_EQ(session->Save(to, hf::StorageToSave(config, program).value()).ToString(), "OK");
    const auto entries = io::ListSafetensors(from + "/model.safetensors").value();
    EXPECT_EQ(io::ListSafetensors(to + "/model.safetensors")->size(), entries.size());
    for (const io::SafetensorsEntry& entry : entries) {
      const auto theirs = io::ReadSafetensors(from + "/model.safetensors", entry.name);
      const auto ours = io::ReadSafetensors(to + "/model.safetensors", entry.name);
      ASSERT_EQ(ours.status().ToString(), "OK");
      EXPECT_EQ(ours->shape(), theirs->shape());
      EXPECT_TRUE(std::ranges::equal(ours->bytes(), theirs->bytes())) << entry.name;
    }
  }
}

}  // namespace
}  // namespace tp
