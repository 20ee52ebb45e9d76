#include "backends/predict/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "backends/predict/cost_model.h"
#include "backends/predict/kriging.h"
#include "backends/predict/product_trend.h"

namespace tp::predict {
namespace {

using testing::HasSubstr;

sim::Machine SomeMachine() {
  sim::Machine machine = sim::PresetMachine("h100x8").value();
  return machine;
}

// A device whose products take what its own law says, with a little noise.
double TrueSeconds(const ProductShape& shape) {
  const auto m = static_cast<double>(shape.m), n = static_cast<double>(shape.n),
             k = static_cast<double>(shape.k);
  const double tiles = std::ceil(m / 128) * std::ceil(n / 128);
  const double compute = std::ceil(tiles / 132) * 128 * 128 * k * 2 / (600e12 / 132);
  const double memory = 2 * (m * k + k * n + m * n) / 2.5e12;
  return 4e-6 + std::max(compute, memory);
}

std::vector<MeasuredProduct> Products(std::mt19937_64& random, int count) {
  std::vector<MeasuredProduct> products;
  std::normal_distribution<double> noise(0, 0.02);
  while (static_cast<int>(products.size()) < count) {
    MeasuredProduct product = {DType::kBFloat16, {}, 0};
    for (int64_t* size : {&product.shape.m, &product.shape.n, &product.shape.k}) {
      *size = int64_t{64} << random() % 8;
    }
    product.us = TrueSeconds(product.shape) * 1e6 * std::exp(noise(random));
    products.push_back(product);
  }
  return products;
}

TEST(FitTest, PredictsProductsThatItHasNotSeen) {
  std::mt19937_64 random(3);
  Measurements measurements;
  for (MeasuredProduct& product : Products(random, 300)) {
    if (!IsHeldOut(NameOf(product))) measurements.products.push_back(product);
  }
  const Fit fit(measurements, SomeMachine());
  double sum = 0;
  int held_out = 0, covered = 0;
  for (const MeasuredProduct& product : Products(random, 400)) {
    if (fit.names().contains(NameOf(product))) {
      EXPECT_TRUE(fit.Product(product.dtype, product.shape)->measured);
      continue;
    }
    const Estimated estimated = *fit.Product(product.dtype, product.shape);
    EXPECT_FALSE(estimated.measured);
    const double off = std::abs(std::log(estimated.seconds * 1e6 / product.us));
    sum += off;
    covered += off <= std::log(estimated.spread);
    ++held_out;
  }
  ASSERT_GT(held_out, 50);
  // Far better than the peak rates alone, and the interval says how much better.
  EXPECT_LT(sum / held_out, 0.1);
  EXPECT_GT(covered, held_out * 3 / 4);
  EXPECT_FALSE(fit.Product(DType::kFloat32, {64, 64, 64}));
}

TEST(FitTest, TheSameFromItsParameters) {
  std::mt19937_64 random(4);
  Measurements measurements;
  measurements.products = Products(random, 40);
  const Fit fit(measurements, SomeMachine());
  Measurements kept = measurements;
  kept.product_parameters = fit.ProductParameters();
  const Fit again(kept, SomeMachine());
  const ProductShape shape = {1000, 1000, 1000};
  EXPECT_EQ(fit.Product(DType::kBFloat16, shape)->seconds,
            again.Product(DType::kBFloat16, shape)->seconds);
}

TEST(FitTest, TellsTurnedOperandsApart) {
  std::mt19937_64 random(8);
  Measurements measurements;
  measurements.products = Products(random, 120);
  for (size_t i = 0; i < measurements.products.size(); ++i) {
    MeasuredProduct& product = measurements.products[i];
    product.shape.b_turned = i % 2 == 1;
    if (product.shape.b_turned) product.us *= 1.5;
  }
  const Fit fit(measurements, SomeMachine());
  const auto seconds = [&](bool b_turned) {
    return fit.Product(DType::kBFloat16, {1000, 1000, 1000, false, b_turned})->seconds;
  };
  EXPECT_GT(seconds(true), 1.3 * seconds(false));
  EXPECT_LT(seconds(true), 1.7 * seconds(false));
}

// A file of an older version has fewer parameters.
TEST(FitTest, FitsAgainWhereThereAreNotAsManyParameters) {
  std::mt19937_64 random(7);
  Measurements measurements;
  measurements.products = Products(random, 30);
  const Fit fit(measurements, SomeMachine());
  measurements.product_parameters[DType::kBFloat16].assign(19, 0.5);
  const Fit again(measurements, SomeMachine());
  const ProductShape shape = {1000, 1000, 1000};
  EXPECT_EQ(fit.Product(DType::kBFloat16, shape)->seconds,
            again.Product(DType::kBFloat16, shape)->seconds);
}

// A file may say anything: no parameters end the process, or make a time that is none.
TEST(FitTest, TakesAnyParameters) {
  std::mt19937_64 random(6);
  Measurements measurements;
  measurements.products = Products(random, 30);
  measurements.products.push_back(measurements.products[0]);
  const ProductShape shape = {77, 777, 7777};
  const Fit plain(measurements, SomeMachine());
  const std::vector<double> parameters = plain.ProductParameters().at(DType::kBFloat16);
  for (double value : {-1e300, -40.0, 0.0, 40.0, 1e300}) {
    measurements.product_parameters[DType::kBFloat16].assign(parameters.size(), value);
    const Fit fit(measurements, SomeMachine());
    const Estimated estimated = *fit.Product(DType::kBFloat16, shape);
    EXPECT_TRUE(std::isfinite(estimated.seconds)) << value;
    EXPECT_GT(estimated.seconds, 0) << value;
  }
}

// Each parameter of a file is taken: another one is another estimate.
TEST(FitTest, TakesEachParameter) {
  std::mt19937_64 random(9);
  Measurements measurements;
  measurements.products = Products(random, 30);
  const Fit fit(measurements, SomeMachine());
  std::vector<double> parameters = fit.ProductParameters().at(DType::kBFloat16);
  const auto estimates = [&] {
    measurements.product_parameters[DType::kBFloat16] = parameters;
    const Fit again(measurements, SomeMachine());
    std::vector<double> seconds;
    for (int64_t size = 16; size <= 16384; size *= 2) {
      for (const ProductShape& shape :
           {ProductShape{size, size / 2 + 3, 777}, ProductShape{size + 77, 4096, size}}) {
        seconds.push_back(again.Product(DType::kBFloat16, shape)->seconds);
      }
    }
    return seconds;
  };
  const std::vector<double> before = estimates();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const double kept = parameters[i];
    bool taken = false;  // one that is the lesser of two may be of no account
    for (double step : {-3, 3}) {
      parameters[i] = kept + step;
      taken |= estimates() != before;
    }
    EXPECT_TRUE(taken) << i;
    parameters[i] = kept;
  }
}

// One tile, whose sums over a long k are shared out among as many multiprocessors as are best.
TEST(ProductTrendTest, OneLawSplitsSums) {
  const ProductDevice device = {132, 1e15, 3e12, 2};
  std::vector<ProductPoint> points;
  for (int64_t k = 128; k <= 65536; k *= 2) {
    for (int64_t n : {32, 64, 128, 256}) {
      const double one = 64 * 64 * 2 / (device.flops / device.multiprocessors);
      const double tiles = std::ceil(static_cast<double>(n) / 64);
      double least = std::numeric_limits<double>::infinity();
      for (double split = 1; split * tiles <= device.multiprocessors; split *= 2) {
        const double sums = one * static_cast<double>(k) / split;
        least = std::min(least, sums + (split > 1 ? 2e-6 : 0));
      }
      points.push_back({{64, n, k}, 3e-6 + least});
    }
  }
  const auto error = [&](ProductLaw law) {
    const ProductTrend trend = ProductTrend::Fitted(law, device, points);
    double sum = 0;
    for (const ProductPoint& point : points) {
      sum += std::abs(trend.Of(point.shape) - std::log(point.seconds));
    }
    return sum / static_cast<double>(points.size());
  };
  EXPECT_LT(error(ProductLaw::kSplit), error(ProductLaw::kWaves) / 2);
}

// What is said of each point left out is what the others would have said.
TEST(KrigingTest, LeavesOneOut) {
  std::mt19937_64 random(8);
  std::normal_distribution<double> normal;
  std::vector<std::vector<double>> points(12);
  std::vector<double> values;
  for (std::vector<double>& point : points) {
    point = {normal(random), normal(random)};
    values.push_back(normal(random));
  }
  const std::vector<double> parameters = {0, 0.5, 0, -1};  // two lengths, variance, noise
  const Kriging all(points, values, parameters);
  // No more lost than the matrix's condition takes: its eigenvalues are at least the noise, and no
  // more than the variance of all points and the noise.
  const double n = static_cast<double>(points.size());
  const double condition = (n + std::exp(-1)) / std::exp(-1);
  const double off = n * condition * condition * std::numeric_limits<double>::epsilon();
  for (size_t i = 0; i < points.size(); ++i) {
    auto fewer_points = points;
    auto fewer_values = values;
    fewer_points.erase(fewer_points.begin() + static_cast<std::ptrdiff_t>(i));
    fewer_values.erase(fewer_values.begin() + static_cast<std::ptrdiff_t>(i));
    const Kriging::Guess guess = Kriging(fewer_points, fewer_values, parameters).Of(points[i]);
    EXPECT_NEAR(all.left_out()[i].mean, values[i] - guess.mean, off) << i;
    EXPECT_NEAR(all.left_out()[i].deviation, guess.deviation, off) << i;
  }
}

TEST(FitTest, CurvesGoThroughTheirPointsAndBetween) {
  Curve curve;
  curve.Add(100, 1e-5);
  curve.Add(400, 4e-5);
  curve.Add(1600, 16e-5);
  EXPECT_EQ(curve.Of(100), 1e-5);
  // exp2 of a half, from logarithms: each of two logarithms, a quotient, a power and a product is
  // within an ulp of 1, and the power magnifies what its exponent is off by log(4).
  constexpr double kOff = 8 * std::numeric_limits<double>::epsilon();
  EXPECT_NEAR(curve.Of(200), 2e-5, 2e-5 * kOff);
  EXPECT_EQ(curve.Of(1), 1e-5);
  EXPECT_DOUBLE_EQ(curve.Of(3200), 32e-5);
  EXPECT_NEAR(curve.Spread(), 1, kOff);  // the middle one is where the others say
}

TEST(FitTest, MoreMembersThanWereMeasured) {
  Measurements measurements;
  for (double bytes : {1e3, 1e6, 1e9}) {
    measurements.collectives.push_back({CollectiveKind::kAllReduce, 2, bytes, 6 + bytes / 300e3});
    measurements.collectives.push_back({CollectiveKind::kAllGather, 2, bytes, 5 + bytes / 600e3});
  }
  const Fit fit(measurements, SomeMachine());
  EXPECT_TRUE(fit.Collective(CollectiveKind::kAllReduce, 2, 1e6)->measured);
  const double four = fit.Collective(CollectiveKind::kAllReduce, 4, 1e3)->seconds;
  // Two are 6 us and a hop of 1 us; four are four hops more, and some bytes.
  EXPECT_GT(four, 10e-6);
  EXPECT_LT(four, 11e-6);
  const double large = fit.Collective(CollectiveKind::kAllGather, 4, 1e9)->seconds;
  EXPECT_GT(large, fit.Collective(CollectiveKind::kAllGather, 2, 1e9)->seconds);
  EXPECT_FALSE(fit.Collective(CollectiveKind::kBroadcast, 4, 1e3));
}

// What was timed for the prediction is taken as it is, and is nothing that was fitted on.
TEST(FitTest, TimedOpsComeFirst) {
  Measurements measured, timed;
  measured.ops = {{"add", DType::kFloat32, 1000, 10}, {"add", DType::kFloat32, 4000, 40}};
  timed.ops = {{"add", DType::kFloat32, 2000, 7}, {"add", DType::kFloat32, 4000, 8}};
  timed.products = {{DType::kBFloat16, {1, 2, 3, true}, 5}};
  timed.repeat_floor = 0.5;
  Fit fit(measured, SomeMachine());
  EXPECT_FALSE(fit.Product(DType::kBFloat16, {1, 2, 3, true}));
  fit.Take(timed);
  EXPECT_EQ(fit.Product(DType::kBFloat16, {1, 2, 3, true})->seconds, 5 * 1e-6);
  EXPECT_EQ(fit.Product(DType::kBFloat16, {1, 2, 3, true})->spread, 1.5);
  EXPECT_FALSE(fit.Product(DType::kBFloat16, {1, 2, 3}));
  EXPECT_EQ(fit.Op("add", DType::kFloat32, 2000)->seconds, 7 * 1e-6);
  EXPECT_TRUE(fit.Op("add", DType::kFloat32, 2000)->measured);
  EXPECT_EQ(fit.Op("add", DType::kFloat32, 4000)->seconds, 8 * 1e-6);
  EXPECT_EQ(fit.Op("add", DType::kFloat32, 1000)->seconds, 10 * 1e-6);
  EXPECT_FALSE(fit.Op("add", DType::kBFloat16, 2000));
  EXPECT_FALSE(fit.names().contains(NameOf(timed.ops[0])));
}

TEST(MeasurementsTest, AFileIsWrittenAndReadBack) {
  Measurements m;
  m.when = "2026-01-01T00:00:00Z";
  m.where = "here";
  m.repeat_floor = 0.01;
  m.products = {{DType::kBFloat16, {1, 2, 3}, 4.5},
                {DType::kBFloat16, {1, 2, 3, false, true}, 5},
                {DType::kBFloat16, {1, 2, 3, false, false, true}, 6}};
  m.ops = {{"add", DType::kFloat32, 1e6, 3}};
  m.collectives = {{CollectiveKind::kAllGather, 4, 1e6, 30}};
  m.steps = {{"row", DType::kFloat32, 20, 1000, 500, 2, 1, 700}};
  m.product_parameters[DType::kBFloat16] = {1, 2};
  const std::string text = ToJson(m);
  EXPECT_EQ(ToJson(ParseMeasurements(text, "m").value()), text);
  const std::string machine = sim::ToJson(SomeMachine());
  EXPECT_EQ(ToJson(ParseMeasurements(WithFit(machine, m), "m").value()), text);
  EXPECT_TRUE(sim::ParseMachine(WithFit(machine, m), "m").ok());
  EXPECT_TRUE(ParseMeasurements(machine, "m").value().products.empty());
}

TEST(MeasurementsTest, ErrorsNameTheEntry) {
  const auto error = [](const char* text) {
    return ParseMeasurements(text, "m").status().message();
  };
  EXPECT_EQ(error("3"), "m: is no JSON object");
  EXPECT_THAT(error(R"({"products": [["bf16", 1, 2, 3, 4], ["bf17", 1, 2, 3, 4]]})"),
              HasSubstr("m.fit.products[1]"));
  for (const char* bad :
       {R"({"products": [["bf16", 0, 2, 3, 4]]})", R"({"products": [["bf16", 1, 2, 3]]})",
        R"({"products": [["bf16 nx", 1, 2, 3, 4]]})", R"({"products": [["bf16 ", 1, 2, 3, 4]]})",
        R"({"products": 3})", R"({"ops": [["add", "fp32", "x", 3]]})",
        R"({"collectives": [["all_sum", 2, 3, 4]]})",
        R"({"steps": [["diagonal", "fp32", 1, 1, 1, 1, 1, 1]]})",
        R"({"product_parameters": {"bf16": 3}})", R"({"fit": []})"}) {
    EXPECT_FALSE(ParseMeasurements(bad, "m").ok()) << bad;
  }
}

TEST(MeasurementsTest, OneInFourIsHeldOut) {
  int held_out = 0;
  for (int i = 0; i < 4000; ++i) held_out += IsHeldOut("shape " + std::to_string(i));
  // Four standard deviations of a fair draw.
  EXPECT_NEAR(held_out, 1000, 4 * std::sqrt(4000 * 0.25 * 0.75));
}

TEST(CostModelTest, EachCostSaysWhereItIsFrom) {
  const sim::Machine machine = SomeMachine();
  OpWork work;
  work.action = Action::kGemm;
  work.dtype = DType::kBFloat16;
  work.loops = 1;
  work.product = {4096, 4096, 4096};
  work.flops = 2.0 * 4096 * 4096 * 4096;
  EXPECT_EQ(CostModel(machine).Of(work).source, CostSource::kPreset);
  EXPECT_EQ(CostModel(machine).Of(work).spread, 0);
  std::mt19937_64 random(5);
  Measurements measurements;
  measurements.products = Products(random, 20);
  measurements.products.push_back({DType::kBFloat16, {4096, 4096, 4096}, 250});
  const Fit fit(measurements, machine);
  const CostModel model(machine, &fit);
  EXPECT_EQ(model.Of(work).source, CostSource::kMeasured);
  EXPECT_EQ(model.Of(work).seconds, 250e-6);
  work.product.k = 4095;
  EXPECT_EQ(model.Of(work).source, CostSource::kInterpolated);
  EXPECT_GT(model.Of(work).spread, 1);
}

}  // namespace
}  // namespace tp::predict
