#include "tp/verify/exact.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string_view>

#include "tp/core/random.h"

namespace tp::verify {
namespace {

// The exponent of a number's lowest set bit: the number is a multiple of 2^that, and of nothing
// coarser. Zero is a multiple of everything.
constexpr int kAnyGrid = std::numeric_limits<int>::max() / 4;
int GridOf(double value) {
  if (value == 0) return kAnyGrid;
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  const auto bits = static_cast<int64_t>(std::ldexp(mantissa, 53));
  return exponent - 53 + __builtin_ctzll(static_cast<uint64_t>(bits));
}

int GridOf(const Panel& panel) {
  int grid = kAnyGrid;
  for (const PanelRow& row : panel) {
    for (double value : row) grid = std::min(grid, GridOf(value));
  }
  return grid;
}

int GridOf(const HostTensor& tensor) {
  int grid = kAnyGrid;
  for (double value : tensor.ToDoubles()) grid = std::min(grid, GridOf(value));
  return grid;
}

bool IsPowerOfTwo(double value) {
  int exponent = 0;
  return value > 0 && std::frexp(value, &exponent) == 0.5;
}

// Whether multiples of 2^grid whose absolute values sum up to `magnitude` add without rounding in
// `dtype`, in any order.
bool SumIsExact(DType dtype, double magnitude, int grid) {
  if (magnitude == 0) return true;
  const int smallest = std::ilogb(UnitRoundoff(dtype) * MinNormal(dtype)) + 1;
  return grid >= smallest && magnitude <= MaxFinite(dtype) &&
         magnitude <= std::ldexp(1 / UnitRoundoff(dtype), grid);
}

Status NotExact(std::string_view what, int step, DType dtype) {
  return FailedPrecondition(fmt::format(
      "{} of step {} may round in {}: the sum of its terms' absolute values has more bits than the "
      "type; use smaller or sparser integers, or fewer steps",
      what, step, Name(dtype)));
}

// |a||b| summed up.
Panel Magnitude(const MatrixView& a, const Panel& b) {
  Panel magnitude(a.rows, PanelRow{});
  Panel absolute(b);
  for (PanelRow& row : absolute) {
    for (double& value : row) value = std::abs(value);
  }
  AddAbsProduct(a, 0, a.columns, absolute, &magnitude);
  return magnitude;
}

bool AllExact(DType dtype, const Panel& magnitudes, int grid) {
  return std::all_of(magnitudes.begin(), magnitudes.end(), [&](const PanelRow& row) {
    return std::all_of(row.begin(), row.end(),
                       [&](double magnitude) { return SumIsExact(dtype, magnitude, grid); });
  });
}

struct LossTerms {
  double squares = 0;
  int grid = kAnyGrid;

  void Add(double residual) {
    squares += residual * residual;
    grid = std::min(grid, GridOf(residual));
  }
  bool Exact(DType dtype) const {
    return grid == kAnyGrid || SumIsExact(AccumulatorOf(dtype), squares, 2 * grid);
  }
};

class Checker {
 public:
  Checker(const LinearProblem& problem, const Sample& sample)
      : problem_(problem),
        sample_(sample),
        inputs_(problem),
        dtype_(problem.x.dtype()),
        grid_x_(GridOf(problem.x)),
        grid_w_(GridOf(problem.w)),
        losses_(problem.steps) {}

  Status Features(std::span<const int64_t> features) {
    FeatureReference reference(inputs_, Splits(), features);
    for (int step = 0; step < problem_.steps; ++step) {
      const Panel w = reference.w();
      const PanelRow b = reference.b();
      reference.Compute();
      TP_RETURN_IF_ERROR(Output(reference, w, b, step));
      for (size_t f = 0; f < features.size(); ++f) {
        for (const PanelRow& row : reference.residual()) losses_[step].Add(row[f]);
      }
      TP_RETURN_IF_ERROR(Gradients(reference, step));
      reference.Update();
      TP_RETURN_IF_ERROR(Updates(reference, w, b, step));
    }
    return OkStatus();
  }

  Status Rows(std::span<const int64_t> rows) {
    const RowReference reference(inputs_, Splits(), rows);
    const int grid = grid_w_ + GridOf(reference.dy());
    if (!AllExact(dtype_, Magnitude(inputs_.w_transposed(), reference.dy()), grid)) {
      return NotExact("dX", 0, dtype_);
    }
    return OkStatus();
  }

  Status Losses() const {
    for (int step = 0; step < problem_.steps; ++step) {
      if (!losses_[step].Exact(dtype_)) return NotExact("the loss", step, AccumulatorOf(dtype_));
    }
    return OkStatus();
  }

 private:
  // Y, Y - T and dY.
  Status Output(const FeatureReference& reference, const Panel& w, const PanelRow& b, int step) {
    Panel magnitude = Magnitude(inputs_.x(), w);
    const int grid_product = grid_x_ + GridOf(w);
    for (int64_t m = 0; m < inputs_.tokens(); ++m) {
      for (int f = 0; f < kPanelWidth; ++f) {
        const double sum = magnitude[m][f] + std::abs(b[f]);
        if (!SumIsExact(dtype_, sum, std::min(grid_product, GridOf(b[f])))) {
          return NotExact("Y", step, dtype_);
        }
        const double y = reference.y()[m][f];
        const double target = y - reference.residual()[m][f];
        const int grid = std::min(GridOf(y), GridOf(target));
        if (!SumIsExact(AccumulatorOf(dtype_), std::abs(y) + std::abs(target), grid) ||
            !SumIsExact(dtype_, std::abs(reference.dy()[m][f]), GridOf(reference.dy()[m][f]))) {
          return NotExact("dY", step, dtype_);
        }
      }
    }
    return OkStatus();
  }

  Status Gradients(const FeatureReference& reference, int step) {
    const int grid = GridOf(reference.dy());
    if (!AllExact(dtype_, Magnitude(inputs_.x_transposed(), reference.dy()), grid_x_ + grid)) {
      return NotExact("dW", step, dtype_);
    }
    PanelRow sum = {};
    for (const PanelRow& row : reference.dy()) {
      for (int f = 0; f < kPanelWidth; ++f) sum[f] += std::abs(row[f]);
    }
    return AllExact(dtype_, {sum}, grid) ? OkStatus() : NotExact("db", step, dtype_);
  }

  Status Updates(const FeatureReference& reference, const Panel& w, const PanelRow& b, int step) {
    const auto exact = [&](double before, double gradient) {
      const double change = inputs_.learning_rate() * gradient;
      return SumIsExact(dtype_, std::abs(before) + std::abs(change),
                        std::min(GridOf(before), GridOf(change)));
    };
    for (int f = 0; f < kPanelWidth; ++f) {
      for (int64_t k = 0; k < inputs_.in_features(); ++k) {
        if (!exact(w[k][f], reference.dw().value[k][f])) return NotExact("W", step, dtype_);
      }
      if (!exact(b[f], reference.db()[f])) return NotExact("b", step, dtype_);
    }
    return OkStatus();
  }

  const LinearProblem& problem_;
  const Sample& sample_;
  ReferenceInputs inputs_;
  DType dtype_;
  int grid_x_;
  int grid_w_;
  std::vector<LossTerms> losses_;
};

// A random integer of [-most, most] without 0, or 0 with chance 1 - density.
double DrawInteger(const RandomTensor& random, int64_t index, int most, double density) {
  const double draw = random.Uniform(2 * static_cast<uint64_t>(index));  // [-1, 1)
  if ((draw + 1) / 2 >= density) return 0;
  const uint32_t bits = random.Bits(2 * static_cast<uint64_t>(index) + 1);
  const double magnitude = 1 + (bits >> 1) % static_cast<uint32_t>(most);
  return (bits & 1) != 0 ? -magnitude : magnitude;
}

HostTensor DrawTensor(const Shape& shape, const ExactSpec& spec, uint64_t stream, int most,
                      double density) {
  HostTensor tensor(shape, spec.dtype);
  const RandomTensor random(spec.seed, stream);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    tensor.Set(i, DrawInteger(random, i, most, density));
  }
  return tensor;
}

// About `terms` non-zero elements in each row and column of X and of Y - T.
LinearProblem DrawProblem(const ExactSpec& spec, double terms) {
  const auto density = [&](int64_t a, int64_t b) {
    return std::min(1.0, terms / static_cast<double>(std::max(a, b)));
  };
  const int64_t m = spec.tokens;
  const int64_t k = spec.in_features;
  const int64_t n = spec.out_features;
  LinearProblem problem;
  problem.x = DrawTensor({m, k}, spec, 1, 1, density(k, k));
  problem.w = DrawTensor({n, k}, spec, 2, 2, 1);
  problem.b = DrawTensor({n}, spec, 3, 3, 1);
  problem.targets = HostTensor({m, n}, spec.dtype);
  // dY is 2 (Y - T) and a step half of the gradient, so everything stays an integer and neither
  // factor can be forgotten unnoticed.
  problem.loss_scale = 1;
  problem.learning_rate = 0.5;
  problem.steps = spec.steps;
  const HostTensor residual = DrawTensor({m, n}, spec, 4, 1, density(m, n));
  const ReferenceInputs inputs(problem);
  for (int64_t first = 0; first < n; first += kPanelWidth) {
    std::vector<int64_t> features;
    for (int64_t j = first; j < std::min(first + kPanelWidth, n); ++j) features.push_back(j);
    FeatureReference reference(inputs, Splits(), features);
    reference.Compute();
    for (size_t f = 0; f < features.size(); ++f) {
      for (int64_t row = 0; row < m; ++row) {
        const int64_t i = row * n + features[f];
        problem.targets.Set(i, reference.y()[row][f] - residual.At(i));
      }
    }
  }
  return problem;
}

}  // namespace

Status CheckExact(const LinearProblem& problem, const Sample& sample) {
  TP_RETURN_IF_ERROR(Validate(problem));
  if (!IsPowerOfTwo(problem.scale()) || !IsPowerOfTwo(problem.learning_rate)) {
    return FailedPrecondition(
        fmt::format("loss scale {} and learning rate {} must be powers of two to be exact",
                    problem.scale(), problem.learning_rate));
  }
  Checker checker(problem, sample);
  const auto each_panel = [](const std::vector<int64_t>& all, const auto& check) {
    for (size_t i = 0; i < all.size(); i += kPanelWidth) {
      TP_RETURN_IF_ERROR(
          check(std::span(all).subspan(i, std::min<size_t>(kPanelWidth, all.size() - i))));
    }
    return OkStatus();
  };
  TP_RETURN_IF_ERROR(
      each_panel(sample.features, [&](auto panel) { return checker.Features(panel); }));
  TP_RETURN_IF_ERROR(each_panel(sample.rows, [&](auto panel) { return checker.Rows(panel); }));
  return sample.full ? checker.Losses() : OkStatus();
}

bool LossIsExact(const LinearProblem& problem, const HostTensor& y) {
  LossTerms terms;
  for (int64_t i = 0; i < y.size(); ++i) terms.Add(y.At(i) - problem.targets.At(i));
  return IsPowerOfTwo(problem.scale()) && terms.Exact(problem.x.dtype());
}

StatusOr<LinearProblem> MakeExactProblem(const ExactSpec& spec, const SampleOptions& sample) {
  if (spec.tokens < 1 || spec.in_features < 1 || spec.out_features < 1 || spec.steps < 1) {
    return InvalidArgument(
        fmt::format("{} tokens, {} in_features, {} out_features, {} steps; each must be at least 1",
                    spec.tokens, spec.in_features, spec.out_features, spec.steps));
  }
  // From as dense as the type could hold at best to a single term.
  Status why = OkStatus();
  const double most_terms =
      static_cast<double>(std::max({spec.tokens, spec.in_features, spec.out_features}));
  for (double terms = std::min(most_terms, 1 / (8 * UnitRoundoff(spec.dtype))); terms > 0.25;
       terms /= 4) {
    LinearProblem problem = DrawProblem(spec, terms);
    why = CheckExact(problem, ChooseSample(problem, spec.tp, spec.dp, sample));
    if (why.ok()) return problem;
  }
  return why.WithContext(fmt::format("no exact problem of {} x {} -> {} in {} with {} steps",
                                     spec.tokens, spec.in_features, spec.out_features,
                                     Name(spec.dtype), spec.steps));
}

}  // namespace tp::verify
