#include "tp/verify/hypotheses.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "tp/core/shard_geometry.h"
#include "tp/verify/owners.h"

namespace tp::verify {
namespace {

int SizeOfAxis(const NumericModel& model, Axis axis) {
  return axis == Axis::kTp ? model.tp : model.dp;
}

// Factors by which world sizes get into a result, each with its names.
std::map<double, std::string> Factors(const NumericModel& model) {
  std::map<double, std::string> factors;
  const auto add = [&](double factor, const std::string& name) {
    if (factor == 1) return;
    std::string& names = factors[factor];
    names += (names.empty() ? "" : " or ") + name;
  };
  add(model.tp, "tp");
  add(1.0 / model.tp, "1/tp");
  add(model.dp, "dp");
  add(1.0 / model.dp, "1/dp");
  if (model.tp > 1 && model.dp > 1) {
    add(model.tp * model.dp, "tp dp");
    add(1.0 / (model.tp * model.dp), "1/(tp dp)");
  }
  add(2, "2");
  add(0.5, "1/2");
  return factors;
}

// What hypotheses read, small enough for each to hold a copy.
struct View {
  const DiagnosisInput* input;
  Shape shape;

  int64_t Index(size_t place) const { return input->elements.index[place]; }
  double Expected(size_t place) const { return input->elements.value[place]; }
  // This value, with the bound of the element at `place`; `factor` is what multiplies the error.
  Guess Near(size_t place, double value, double factor = 1) const {
    return {value, std::max(1.0, std::abs(factor)) * input->elements.bound[place]};
  }
  // What belongs at another place of the whole tensor, if that is among the expected elements.
  std::optional<Guess> Moved(int64_t from_index) const {
    const std::optional<size_t> from = input->elements.Find(from_index);
    if (!from) return std::nullopt;
    return Near(*from, Expected(*from));
  }
  // Of the bias, where the quantity has one in it.
  double Bias(size_t place) const {
    return input->quantity == Quantity::kY ? input->problem.b.At(Index(place) % shape[1]) : 0.0;
  }
};

class Builder {
 public:
  explicit Builder(const DiagnosisInput& input)
      : input_(input), view_{&input, ShapeOf(input.quantity, input.problem)} {}

  std::vector<Hypothesis> Build() {
    Nothing();
    if (input_.quantity == Quantity::kY) Bias();
    if (!input_.elements.previous.empty()) Updates();
    Shares();
    Scale();
    if (view_.shape.size() == 2) Layout();
    for (Axis axis : kDefaultAxes) SwappedShards(axis);
    return std::move(all_);
  }

 private:
  void Add(std::string cause, std::function<std::optional<Guess>(size_t)> guess) {
    all_.push_back({std::move(cause), std::move(guess)});
  }

  void Nothing() {
    Add("all zeros: nothing was computed or received there", [](size_t) { return Guess{0, 0}; });
  }

  void Bias() {
    const View view = view_;
    const int tp = input_.model.tp;
    if (tp > 1) {
      Add(fmt::format("off by (tp - 1) b: the bias is added on every one of the {} tp ranks", tp),
          [=](size_t place) {
            return view.Near(place, view.Expected(place) + (tp - 1) * view.Bias(place));
          });
    }
    Add("off by -b: the bias is missing",
        [=](size_t place) { return view.Near(place, view.Expected(place) - view.Bias(place)); });
  }

  void Updates() {
    const View view = view_;
    const HostTensor* initial =
        input_.quantity == Quantity::kW ? &input_.problem.w : &input_.problem.b;
    const auto start = [=](size_t place) { return initial->At(view.Index(place)); };
    Add(fmt::format("unchanged from the start: no gradient reaches {}", Name(input_.quantity)),
        [=](size_t place) {
          return Guess{start(place), 0};
        });
    if (input_.problem.steps > 1) {
      Add("one step behind: the last update is missing",
          [=](size_t place) { return view.Near(place, view.input->elements.previous[place]); });
      return;
    }
    const auto scaled = [&](const std::string& cause, double factor) {
      Add(cause, [=](size_t place) {
        const double change = view.Expected(place) - start(place);
        return view.Near(place, start(place) + factor * change, factor);
      });
    };
    scaled("the update has the wrong sign", -1);
    for (const auto& [factor, names] : Factors(input_.model)) {
      scaled(fmt::format("the update is scaled by {} ({:g})", names, factor), factor);
    }
  }

  // Mistakes in a sum over the ranks of an axis.
  void Shares() {
    const std::optional<Axis> axis = SummedOver(input_);
    if (!axis) return;
    const int parts = SizeOfAxis(input_.model, *axis);
    const View view = view_;
    for (int part = 0; part < parts; ++part) {
      const auto share = [=](size_t place) {
        return ShareOf(*view.input, view.Index(place), part);
      };
      const auto add = [&](const std::string& cause, double of_sum, double of_share) {
        Add(cause, [=](size_t place) -> std::optional<Guess> {
          const std::optional<double> value = share(place);
          if (!value) return std::nullopt;
          const double bias = view.Bias(place);
          const double sum = view.Expected(place) - bias;
          return view.Near(place, bias + of_sum * sum + of_share * *value, of_sum + of_share);
        });
      };
      const std::string rank = fmt::format("{} rank {}", Name(*axis), part);
      add(fmt::format("the share of {} alone: the reduction over {} is missing", rank, Name(*axis)),
          0, 1);
      add(fmt::format("the sum without the share of {}: its contribution is lost", rank), 1, -1);
      add(fmt::format("the share of {} is counted twice", rank), 1, 1);
    }
    if (input_.quantity == Quantity::kY) {  // of the others, Scale() tells
      Add(fmt::format("averaged over {}, where a sum was meant", Name(*axis)), [=](size_t place) {
        const double bias = view.Bias(place);
        return view.Near(place, bias + (view.Expected(place) - bias) / parts);
      });
    }
    Add(fmt::format("the largest of the shares over {}: maximum where a sum was meant",
                    Name(*axis)),
        [=](size_t place) -> std::optional<Guess> {
          std::optional<double> largest;
          for (int part = 0; part < parts; ++part) {
            const std::optional<double> share = ShareOf(*view.input, view.Index(place), part);
            if (!share) return std::nullopt;
            largest = std::max(largest.value_or(*share), *share);
          }
          return view.Near(place, *largest + view.Bias(place));
        });
  }

  void Scale() {
    const View view = view_;
    for (const auto& [factor, names] : Factors(input_.model)) {
      Add(fmt::format("scaled by {} ({:g}): summed where it was already a sum, or averaged where a "
                      "sum was meant",
                      names, factor),
          [view, factor = factor](size_t place) {
            return view.Near(place, factor * view.Expected(place), factor);
          });
    }
    Add("has the wrong sign",
        [view](size_t place) { return view.Near(place, -view.Expected(place)); });
  }

  void Layout() {
    const View view = view_;
    const Shape& shape = view_.shape;
    Add(fmt::format("laid out transposed: [{}, {}] in memory", shape[1], shape[0]),
        [view](size_t place) {
          const int64_t index = view.Index(place);
          return view.Moved((index % view.shape[0]) * view.shape[1] + index / view.shape[0]);
        });
    if (ShardedDimension(input_.quantity, input_.model.mode, Axis::kTp) != 1) return;
    Add("laid out rank-major: the gathered shards lie one after the other, not side by side",
        [view](size_t place) -> std::optional<Guess> {
          const ShardGeometry geometry(view.shape[1], view.input->model.tp);
          int part = 0;
          while (view.Index(place) >= view.shape[0] * geometry.Offset(part + 1)) ++part;
          const int64_t within = view.Index(place) - view.shape[0] * geometry.Offset(part);
          const int64_t length = geometry.Length(part);
          return view.Moved(within / length * view.shape[1] + geometry.Offset(part) +
                            within % length);
        });
  }

  // For each shard with a wrong element, is there one other shard that it holds instead?
  void SwappedShards(Axis axis) {
    const std::optional<int> dimension = ShardedDimension(input_.quantity, input_.model.mode, axis);
    const int parts = SizeOfAxis(input_.model, axis);
    if (!dimension || parts < 2) return;
    const View view = view_;
    const ShardGeometry geometry(view.shape[*dimension], parts);
    const int64_t stride = view.shape.size() == 2 && *dimension == 0 ? view.shape[1] : 1;
    for (int shift = 1; shift < parts; ++shift) {
      Add(fmt::format("each shard along dimension {} holds that of the {} rank {} further on",
                      *dimension, Name(axis), shift),
          [=](size_t place) -> std::optional<Guess> {
            const int64_t position = PositionAlong(view.shape, *dimension, view.Index(place));
            const int part = geometry.OwnerOf(position);
            const int other = (part + shift) % parts;
            const int64_t local = position - geometry.Offset(part);
            if (local >= geometry.Length(other)) return std::nullopt;
            return view.Moved(view.Index(place) +
                              (geometry.Offset(other) + local - position) * stride);
          });
    }
    for (int a = 0; parts > 2 && a < parts; ++a) {
      for (int b = a + 1; b < parts; ++b) AddSwap(axis, *dimension, geometry, stride, a, b);
    }
  }

  void AddSwap(Axis axis, int dimension, const ShardGeometry& geometry, int64_t stride, int a,
               int b) {
    const View view = view_;
    Add(fmt::format("the shards of {} ranks {} and {} are swapped along dimension {}", Name(axis),
                    a, b, dimension),
        [=](size_t place) -> std::optional<Guess> {
          const int64_t position = PositionAlong(view.shape, dimension, view.Index(place));
          const int part = geometry.OwnerOf(position);
          if (part != a && part != b) return view.Near(place, view.Expected(place));
          const int other = part == a ? b : a;
          const int64_t local = position - geometry.Offset(part);
          if (local >= geometry.Length(other)) return std::nullopt;
          return view.Moved(view.Index(place) +
                            (geometry.Offset(other) + local - position) * stride);
        });
  }

  const DiagnosisInput& input_;
  View view_;
  std::vector<Hypothesis> all_;
};

}  // namespace

std::optional<Axis> SummedOver(const DiagnosisInput& input) {
  const bool row = input.model.mode == Mode::kRow;
  switch (input.quantity) {
    case Quantity::kY:
      return !row && input.model.tp > 1 ? std::optional(Axis::kTp) : std::nullopt;
    case Quantity::kDx:
      return row && input.model.tp > 1 ? std::optional(Axis::kTp) : std::nullopt;
    case Quantity::kDw:
    case Quantity::kDb:
      return input.model.dp > 1 ? std::optional(Axis::kDp) : std::nullopt;
    default:
      return std::nullopt;
  }
}

std::optional<double> ShareOf(const DiagnosisInput& input, int64_t index, int part) {
  const LinearProblem& problem = input.problem;
  const int64_t in = problem.in_features();
  const int64_t out = problem.out_features();
  const auto dy = [&](int64_t m, int64_t n) {
    const int64_t i = m * out + n;
    return 2 * problem.scale() * (input.observed.y.At(i) - problem.targets.At(i));
  };
  if (input.quantity != Quantity::kY && !input.observed.Has(Quantity::kY)) return std::nullopt;
  double sum = 0;
  switch (input.quantity) {
    case Quantity::kY: {
      const ShardGeometry geometry(in, input.model.tp);
      for (int64_t k = geometry.Offset(part); k < geometry.Offset(part + 1); ++k) {
        sum += problem.x.At(index / out * in + k) * problem.w.At(index % out * in + k);
      }
      return sum;
    }
    case Quantity::kDx: {
      const ShardGeometry geometry(out, input.model.tp);
      for (int64_t n = geometry.Offset(part); n < geometry.Offset(part + 1); ++n) {
        sum += dy(index / in, n) * problem.w.At(n * in + index % in);
      }
      return sum;
    }
    case Quantity::kDw:
    case Quantity::kDb: {
      const bool bias = input.quantity == Quantity::kDb;
      const ShardGeometry geometry(problem.tokens(), input.model.dp);
      for (int64_t m = geometry.Offset(part); m < geometry.Offset(part + 1); ++m) {
        sum += bias ? dy(m, index) : dy(m, index / in) * problem.x.At(m * in + index % in);
      }
      return sum;
    }
    default:
      return std::nullopt;
  }
}

std::vector<Hypothesis> TensorHypotheses(const DiagnosisInput& input) {
  return Builder(input).Build();
}

std::vector<Hypothesis> LossHypotheses(const DiagnosisInput& input) {
  const View view{&input, ShapeOf(Quantity::kLoss, input.problem)};
  std::vector<Hypothesis> all;
  if (input.elements.value.size() > 1) {
    all.push_back({"the loss never changes: no gradient reaches the weights",
                   [=](size_t) { return view.Near(0, view.Expected(0)); }});
    all.push_back({"each loss is that of the step before", [=](size_t place) {
                     const size_t before = place > 0 ? place - 1 : 0;
                     return view.Near(before, view.Expected(before));
                   }});
  }
  std::map<double, std::string> factors = Factors(input.model);
  const auto m = static_cast<double>(input.problem.tokens());
  const auto n = static_cast<double>(input.problem.out_features());
  const std::pair<double, const char*> counts[] = {
      {m * n, "the number of elements of Y"}, {m, "the number of tokens"}, {n, "out_features"}};
  for (const auto& [count, name] : counts) {
    factors.emplace(count, fmt::format("{}: a sum over them where a mean was meant", name));
    factors.emplace(1 / count, fmt::format("1 / {}: averaged once too often", name));
  }
  for (const auto& [factor, names] : factors) {
    all.push_back(
        {fmt::format("scaled by {} ({:g})", names, factor), [view, factor = factor](size_t place) {
           return view.Near(place, factor * view.Expected(place), factor);
         }});
  }
  return all;
}

}  // namespace tp::verify
