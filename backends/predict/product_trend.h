// Two laws of the time of a matrix product, of a few parameters each. Both say: what a launch
// takes, and the larger (smoothly) of its bytes' time and its tiles' time. What tiles take:
//
// * kWaves: each of some shapes of tile has its own rate; tiles come in waves over the
//   multiprocessors, and the fastest shape is taken.
// * kSplit: a tile takes the larger of its sums' and its loads' time, and a while to begin. Its k
//   may be split among multiprocessors, and the parts added. The fastest shape and split are taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tp::predict {

// a (m x k) times b (k x n) into c, all row-major unless they are turned: then their columns are
// packed.
struct ProductShape {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  bool a_turned = false;
  bool b_turned = false;
  bool c_turned = false;

  auto operator<=>(const ProductShape&) const = default;
};

struct ProductPoint {
  ProductShape shape;
  double seconds = 0;
};

// Of a device, for one element type.
struct ProductDevice {
  double multiprocessors = 1;
  double flops = 0;
  double bytes_per_second = 0;
  double element_bytes = 0;
};

enum class ProductLaw { kWaves, kSplit };

class ProductTrend {
 public:
  // Of `parameters`, logarithms as Fitted gives them.
  ProductTrend(ProductLaw law, const ProductDevice& device, std::vector<double> parameters);
  // The law with the least mean absolute error in the logarithms of `points`.
  static ProductTrend Fitted(ProductLaw law, const ProductDevice& device,
                             const std::vector<ProductPoint>& points);

  // How many parameters the law has.
  static size_t CountOf(ProductLaw law);
  // The logarithm of the seconds.
  double Of(const ProductShape& shape) const;
  const std::vector<double>& parameters() const { return parameters_; }

 private:
  double WavesSeconds(const ProductShape& shape) const;
  double SplitSeconds(const ProductShape& shape) const;

  ProductLaw law_;
  ProductDevice device_;
  std::vector<double> parameters_;
  std::vector<double> spelled_;     // their exponentials
  std::vector<double> tile_per_k_;  // of kSplit: seconds, for each shape of tile
};

// How many tiles of 128 x 256 its result has.
double LargeTilesOf(const ProductShape& shape);

// How full the last waves are, and how much of the last tile is padding: log2, for the features of
// the kriging.
std::vector<double> FullnessOf(const ProductShape& shape, double multiprocessors);

}  // namespace tp::predict
