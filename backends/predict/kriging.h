// Kriging: numbers at points of a few features, between those that are known (Rasmussen & Williams,
// "Gaussian Processes for Machine Learning", 2006, section 2.2; Matern 3/2, a length for each
// feature).
#pragma once

#include <cstddef>
#include <vector>

namespace tp::predict {

class Kriging {
 public:
  // `points` have as many features each. `parameters`, where they are those of a fit of the same
  // points, save its time.
  Kriging(std::vector<std::vector<double>> points, std::vector<double> values,
          std::vector<double> parameters = {});

  struct Guess {
    double mean = 0;
    double deviation = 0;
  };
  Guess Of(const std::vector<double>& features) const;

  // By how much each known number, left out, is off (the book's section 5.4.2), and the deviation
  // that the others would have given it.
  const std::vector<Guess>& left_out() const { return left_out_; }

  // How many parameters there are: logarithms of a length for each feature, of variance and noise.
  static size_t CountOf(size_t features) { return features + 2; }
  const std::vector<double>& parameters() const { return parameters_; }

 private:
  using Kernel = std::vector<double>;  // 1 / lengths, variance, noise

  Kernel Spelled(const std::vector<double>& parameters) const;
  double Covariance(const Kernel& kernel, const std::vector<double>& a,
                    const std::vector<double>& b) const;
  double NegativeLikelihood(const std::vector<double>& parameters, size_t count) const;
  bool FactorFirst(const Kernel& kernel, size_t count, std::vector<double>& factor) const;
  void FitParameters();
  void Solve();

  const std::vector<std::vector<double>> points_;
  const std::vector<double> values_;
  const size_t features_;
  std::vector<double> parameters_;
  Kernel kernel_;
  std::vector<double> weights_;  // K^-1 values
  std::vector<double> factor_;   // Cholesky's, row-major
  std::vector<Guess> left_out_;
};

}  // namespace tp::predict
