// One token after the other, with a cache of keys and values, says what the peer's whole pass over
// the sequence says (peer_test.cc has more of the peer).
#include "tp/model/decode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tp/huggingface/checkpoint.h"
#include "tp/huggingface/config.h"
#include "tp/io/safetensors.h"
#include "tp/model/transformer.h"
#include "tp/runtime/session.h"

namespace tp {
namespace {

// As in peer_test.cc.
constexpr double kApart = 1000;

HostTensor Golden(const std::string& model, const std::string& name) {
  return io::ReadSafetensors("tests/peer/" + model + "/golden.safetensors", name).value();
}

// A model that is asked for one token after the other.
class Decoder {
 public:
  Decoder(const std::string& model, int64_t batch, int64_t sequence, DType dtype, int tp)
      : config_(hf::ReadConfig("tests/peer/" + model).value()),
        sequence_(sequence),
        backend_(cpu::MakeCpuBackend({})) {
    const TransformerStepOptions options = {.batch = batch, .sequence = sequence, .dtype = dtype};
    const Mesh mesh = Mesh::Create(tp, 1).value();
    const auto decode = MakeTransformerDecode(config_.sizes, options, mesh);
    EXPECT_EQ(decode.status().ToString(), "OK");
    const Program forward = MakeTransformerForward(config_.sizes, options, mesh).value();
    auto sessions = Session::CreateAll(*backend_, mesh, {*decode, forward}).value();
    const std::string folder = "tests/peer/" + model;
    const auto storage = hf::StorageIn(folder, config_, forward, hf::Load::kWeights);
    EXPECT_EQ(sessions[1]->Load(folder, storage).ToString(), "OK");
    session_ = std::move(sessions[0]);
    const std::vector<std::string> caches = CachesOf(*decode);
    EXPECT_EQ(caches.size(), 2 * static_cast<size_t>(config_.sizes.layers));
    const auto copied = session_->CopyParametersFrom(*sessions[1], {caches.begin(), caches.end()});
    EXPECT_EQ(copied.ToString(), "OK");
    for (const std::string& cache : caches) {
      EXPECT_EQ(session_->Write(cache, [](int64_t) { return 0.0; }).ToString(), "OK");
    }
  }

  // Logits [batch, vocabulary], of one more token of each sequence.
  std::vector<double> Next(const std::vector<double>& tokens, const std::vector<int64_t>& places) {
    const auto token = [&](int64_t i) { return tokens[i]; };
    EXPECT_EQ(session_->Feed("tokens", token).ToString(), "OK");
    for (const auto& [name, elements] : PlaceInputs(config_.sizes, sequence_, places)) {
      EXPECT_EQ(session_->Feed(name, elements).ToString(), "OK");
    }
    EXPECT_EQ(session_->Step().ToString(), "OK");
    return session_->Read("logits")->ToDoubles();
  }

  int64_t vocabulary() const { return config_.sizes.vocabulary; }

 private:
  const hf::ModelConfig config_;
  const int64_t sequence_;
  const std::unique_ptr<Backend> backend_;
  std::unique_ptr<Session> session_;
};

// The logits of all places of all sequences, each of which begins a token later than the one
// before.
std::vector<double> Logits(const std::string& model, int tp) {
  const HostTensor tokens = Golden(model, "tokens");
  const int64_t batch = tokens.shape()[0], sequence = tokens.shape()[1];
  Decoder decoder(model, batch, sequence, DType::kFloat64, tp);
  const int64_t v = decoder.vocabulary();
  std::vector<double> logits(batch * sequence * v, 0.0);
  for (int64_t step = 0; step < sequence + batch - 1; ++step) {
    std::vector<double> now(batch, 0.0);
    std::vector<int64_t> places(batch, -1);  // nowhere
    for (int64_t b = 0; b < batch; ++b) {
      if (step < b || step - b >= sequence) continue;
      places[b] = step - b;
      now[b] = tokens.At(b * sequence + places[b]);
    }
    const std::vector<double> said = decoder.Next(now, places);
    for (int64_t b = 0; b < batch; ++b) {
      if (places[b] < 0) continue;
      std::copy_n(said.begin() + b * v, v, logits.begin() + (b * sequence + places[b]) * v);
    }
  }
  return logits;
}

double Distance(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double distance = 0;
  for (size_t i = 0; i < a.size(); ++i) distance = std::max(distance, std::abs(a[i] - b[i]));
  return distance;
}

// By rope or learned positions, with biases or not, with fewer key and value heads or not.
TEST(DecodeTest, SaysOfEachPlaceWhatThePeerSays) {
  for (const char* model : {"llama", "mistral", "qwen2", "gpt2"}) {
    const std::vector<double> one = Logits(model, 1), three = Logits(model, 3);
    const double own = Distance(one, three);
    EXPECT_GT(own, 0);
    EXPECT_LE(Distance(one, Golden(model, "logits").ToDoubles()), kApart * own) << model;
  }
}

TEST(DecodeTest, GoesOnWithThePeersText) {
  const std::vector<double> text = Golden("greedy", "text").ToDoubles();
  constexpr size_t kPrompt = 4;
  for (int tp : {1, 2, 4}) {
    Decoder decoder("greedy", 1, static_cast<int64_t>(text.size()), DType::kFloat32, tp);
    std::vector<double> ours(text.begin(), text.begin() + kPrompt);
    for (size_t i = 0; i + 1 < text.size(); ++i) {
      const std::vector<double> logits = decoder.Next({ours[i]}, {static_cast<int64_t>(i)});
      if (i + 1 < kPrompt) continue;
      const auto greatest = std::max_element(logits.begin(), logits.end());
      ours.push_back(static_cast<double>(greatest - logits.begin()));
    }
    EXPECT_EQ(ours, text) << "tp " << tp;
  }
}

}  // namespace
}  // namespace tp
