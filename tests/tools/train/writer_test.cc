#include "tools/train/writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/model/small_transformer.h"
#include "tp/model/initial.h"

namespace tp::train {
namespace {

constexpr int64_t kSequence = 6;
constexpr double kTemperature = 0.7;

// A small model twice: as a pass over a whole sequence, and as a writer.
class WriterTest : public testing::Test {
 protected:
  void Make(const TransformerConfig& config, int tp, int dp) {
    config_ = config;
    const Mesh mesh = Mesh::Create(tp, dp).value();
    TransformerStepOptions options = {
        .batch = 1, .sequence = kSequence, .dtype = DType::kFloat64, .results = {"logits"}};
    const Program forward = MakeTransformerForward(config, options, mesh).value();
    options.results = {};
    const Program decode = MakeTransformerDecode(config, options, mesh).value();
    auto sessions = Session::CreateAll(*backend_, mesh, {forward, decode}).value();
    forward_ = std::move(sessions[0]);
    writer_ = std::make_unique<Writer>(config, kSequence, std::move(sessions[1]));
    for (const std::string& name : forward_->NamesOf(Role::kParameter)) {
      // Learned places that decide what is likely.
      const double deviation = name.starts_with("position") ? 4 : 0.8;
      ASSERT_TRUE(forward_->Write(name, InitialValue(config, name, 5, deviation)).ok());
    }
    ASSERT_TRUE(forward_->Feed("targets", [](int64_t) { return -1.0; }).ok());
    ASSERT_TRUE(forward_->Feed("weights", [](int64_t) { return 0.0; }).ok());
  }

  // The likeliest token behind a context, by a pass over all of it.
  int32_t Likeliest(const std::vector<int32_t>& context) {
    const auto token = [&](int64_t i) {
      return i < static_cast<int64_t>(context.size()) ? context[static_cast<size_t>(i)] : 0.0;
    };
    EXPECT_TRUE(forward_->Feed("tokens", token).ok());
    EXPECT_TRUE(forward_->Step().ok());
    const std::vector<double> logits = forward_->Read("logits")->ToDoubles();
    const int64_t v = config_.vocabulary;
    const auto row = logits.begin() + static_cast<int64_t>(context.size() - 1) * v;
    return static_cast<int32_t>(std::max_element(row, row + v) - row);
  }

  std::vector<int32_t> ByWholePasses(std::vector<int32_t> context, int64_t count) {
    const auto keep = [&context](int64_t most) {
      const auto size = static_cast<int64_t>(context.size());
      if (size > most) context.erase(context.begin(), context.end() - most);
    };
    std::vector<int32_t> written;
    keep(kSequence);
    for (int64_t i = 0; i < count; ++i) {
      if (context.size() > kSequence) keep(kSequence / 2);
      written.push_back(Likeliest(context));
      context.push_back(written.back());
    }
    return written;
  }

  TransformerConfig config_;
  const std::unique_ptr<Backend> backend_ = cpu::MakeCpuBackend({});
  std::unique_ptr<Session> forward_;
  std::unique_ptr<Writer> writer_;
};

// Through several sequences, from prompts shorter and longer than one.
TEST_F(WriterTest, WritesWhatPassesOverWholeSequencesWrite) {
  TransformerConfig learned = SmallTransformer();
  learned.positions = 8;
  learned.bias = learned.qkv_bias = true;
  for (const TransformerConfig& config : {SmallTransformer(), learned}) {
    for (const auto& [tp, dp] : {std::pair(1, 1), std::pair(2, 1), std::pair(4, 2)}) {
      Make(config, tp, dp);
      std::set<int32_t> said;
      for (const std::vector<int32_t>& prompt :
           {std::vector<int32_t>{3}, std::vector<int32_t>{1, 5, 2, 8, 11, 12, 7, 4, 9}}) {
        const auto written = writer_->Write(*forward_, prompt, {.count = 20});
        ASSERT_EQ(written.status().ToString(), "OK");
        EXPECT_EQ(*written, ByWholePasses(prompt, 20)) << "tp " << tp << " dp " << dp;
        said.insert(written->begin(), written->end());
      }
      EXPECT_GT(said.size(), 3u) << "it says one thing only";
    }
  }
}

// Drawn by the seed: the same text again, and another one from another seed.
TEST_F(WriterTest, DrawsBySeed) {
  Make(SmallTransformer(), 2, 1);
  const auto write = [&](uint64_t seed, double temperature) {
    return *writer_->Write(*forward_, {3}, {.count = 40, .temperature = temperature, .seed = seed});
  };
  const std::vector<int32_t> text = write(1, kTemperature);
  EXPECT_EQ(write(1, kTemperature), text);
  EXPECT_NE(write(2, kTemperature), text);
  EXPECT_NE(write(1, 0), text);
  // Near 0 next to nothing but the likeliest is drawn.
  EXPECT_EQ(write(1, 1e-6), write(1, 0));
}

// A uniform number walks over the tokens in their order, each as long as its probability.
TEST(Draw, TakesEachTokenAsOftenAsItsProbabilitySays) {
  HostTensor logits({1, 1, 3}, DType::kFloat64);
  const double temperature = 2, shares[] = {0.5, 0.125, 0.375};
  for (int64_t i = 0; i < 3; ++i) logits.Set(i, temperature * std::log(shares[i]) + 7);
  constexpr int64_t kDraws = 800;
  std::vector<int64_t> counts(3, 0);
  int32_t last = 0;
  for (int64_t i = 0; i < kDraws; ++i) {
    const int32_t drawn = Draw(logits, temperature, (static_cast<double>(i) + 0.5) / kDraws);
    EXPECT_GE(drawn, last);
    last = drawn;
    ++counts[static_cast<size_t>(drawn)];
  }
  EXPECT_EQ(counts, (std::vector<int64_t>{400, 100, 300}));
  EXPECT_EQ(Draw(logits, 0, 0.99), 0);
  EXPECT_EQ(Draw(logits, temperature, 1), 2);
}

}  // namespace
}  // namespace tp::train
