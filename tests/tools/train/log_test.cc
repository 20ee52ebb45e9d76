#include "tools/train/log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>

#include "tests/tools/command.h"

namespace tp::train {
namespace {

TEST(Log, KeepsWholeLinesOfStepsThatAreDone) {
  const std::string log =
      "{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1}\nnonsense\n[1]\n{\"step\":\"x\"}\n"
      "{\"step\":3,\"loss\":1}\n{\"step\":2,\"held_out_loss\":1}\n{\"step\":1,\"lo";
  EXPECT_EQ(KeptLines(log, 2),
            "{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1}\n{\"step\":2,\"held_out_loss\":1}\n");
  EXPECT_EQ(KeptLines(log, 0), "");
  EXPECT_EQ(KeptLines("", 5), "");
}

TEST(Log, GoesOnWhereARunGoesOn) {
  const std::string path = MakeScratchFolder() + "/log";
  for (int64_t done : {0, 1}) {
    auto log = Log::Open(path, done);
    ASSERT_TRUE(log.ok()) << log.status().ToString();
    for (int64_t step = done + 1; step <= 3; ++step) {
      StepMetrics metrics;
      metrics.step = step;
      ASSERT_TRUE((*log)->AddStep(metrics, 7).ok());
    }
    ASSERT_TRUE((*log)->AddHeldOut(3, 0.25).ok());
  }
  const std::string text = ReadWholeFile(path);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
  EXPECT_EQ(KeptLines(text, 3), text);
  EXPECT_TRUE(text.ends_with("{\"step\":3,\"held_out_loss\":0.25}\n"));
}

TEST(Log, SaysTheLossScaleWhereThereIsOne) {
  const std::string path = MakeScratchFolder() + "/log";
  auto log = Log::Open(path, /*done=*/0);
  ASSERT_TRUE(log.ok()) << log.status().ToString();
  StepMetrics metrics;
  metrics.norm = std::numeric_limits<double>::infinity();
  ASSERT_TRUE((*log)->AddStep(metrics, 7).ok());
  metrics.loss_scale = 2048;
  metrics.skipped = true;
  ASSERT_TRUE((*log)->AddStep(metrics, 7).ok());
  const std::string text = ReadWholeFile(path);
  const std::string plain = text.substr(0, text.find('\n'));
  EXPECT_NE(plain.find("\"gradient_norm\":null"), std::string::npos) << plain;
  EXPECT_EQ(plain.find("loss_scale"), std::string::npos) << plain;
  EXPECT_TRUE(text.ends_with("\"loss_scale\":2048.0,\"skipped\":true}\n")) << text;
}

TEST(Log, GoesOnIntoWhatCanNotBeReadBack) {
  const auto log = Log::Open("/dev/null", /*done=*/1);
  ASSERT_TRUE(log.ok()) << log.status().ToString();
  EXPECT_TRUE((*log)->AddHeldOut(2, 0.25).ok());
}

}  // namespace
}  // namespace tp::train
