// The transformer's gradients against central differences of its loss, in double: of the whole
// model at once, along a random direction of each parameter.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "tests/model/small_transformer.h"
#include "tests/program/evaluate.h"
#include "tp/core/random.h"
#include "tp/core/roundoff.h"
#include "tp/model/transformer.h"

namespace tp {
namespace {

class Differences {
 public:
  explicit Differences(const TransformerConfig& config)
      : program_(MakeProgram(config)), sources_(SourcesOf(program_, config)) {
    loss_ = program_.Find("loss").value();
    const auto values = Evaluate(program_, sources_);
    size_ = std::abs(values[loss_].at(0));
    for (const Op& op : program_.ops()) {
      if (!op.Is(kAdamw)) continue;
      gradients_[program_.value(op.inputs[0]).name] = values[op.inputs[3]];
    }
  }

  const std::map<std::string, std::vector<double>>& gradients() const { return gradients_; }

  static double Direction(int64_t i) {
    return RandomTensor(7, 1).Uniform(static_cast<uint64_t>(i));
  }

  // The slope of the loss along Direction() of `parameter`, from values `h` to both sides.
  double Slope(const std::string& parameter, double h) const {
    const auto at = [&](double step) {
      Sources sources = sources_;
      const Source w = sources_.at(parameter);
      sources[parameter] = [=](int64_t i) { return w(i) + step * Direction(i); };
      return Evaluate(program_, sources)[loss_].at(0);
    };
    return (at(h) - at(-h)) / (2 * h);
  }
  // What rounding does to a slope at the most: each loss is a chain of roundings no longer than the
  // program's letters make it.
  double Rounding(double h) const {
    return Gamma(1000.0 * static_cast<double>(program_.ops().size()), 0x1p-53) * size_ / h;
  }

 private:
  static Program MakeProgram(const TransformerConfig& config) {
    TransformerStepOptions options = SmallStep();
    options.dtype = DType::kFloat64;
    return MakeTransformerStep(config, options, Mesh::Create(1, 1).value()).value();
  }

  const Program program_;
  const Sources sources_;
  ValueId loss_ = kNoValue;
  double size_ = 0;
  std::map<std::string, std::vector<double>> gradients_;
};

// The error of a central difference is a multiple of h^2 where h is small: what D(h/2) is off by is
// then a third of what it is apart from D(h), and surely no more than all of that.
void ExpectSlopes(const TransformerConfig& config) {
  const Differences differences(config);
  for (const auto& [parameter, gradient] : differences.gradients()) {
    double along = 0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      along += gradient[i] * Differences::Direction(static_cast<int64_t>(i));
    }
    constexpr double kStep = 0x1p-8;
    const double far = differences.Slope(parameter, kStep);
    const double near = differences.Slope(parameter, kStep / 2);
    EXPECT_NEAR(along, near, std::abs(far - near) + differences.Rounding(kStep / 2)) << parameter;
    EXPECT_LT(std::abs(far - near), std::abs(near) / 8) << parameter;  // else it says little
  }
}

TEST(TransformerGradient, IsTheSlopeOfTheLoss) { ExpectSlopes(SmallTransformer()); }

TEST(TransformerGradient, MeetsWhereEmbeddingsAreTied) {
  TransformerConfig config = SmallTransformer();
  config.tied_embeddings = true;
  ExpectSlopes(config);
}

}  // namespace
}  // namespace tp
