#include "tests/verify/simulated_step.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "tp/core/random.h"
#include "tp/core/shard_geometry.h"

namespace tp::verify {
namespace {

using Matrix = std::vector<double>;

// Acc is the accumulator's type: every operation on it rounds as the machine's does.
template <typename Acc>
class Machine {
 public:
  Machine(const LinearProblem& problem, const NumericModel& model, const Simulation& simulation)
      : problem_(problem),
        model_(model),
        simulation_(simulation),
        random_(simulation.seed),
        m_(problem.tokens()),
        k_(problem.in_features()),
        n_(problem.out_features()),
        x_(problem.x.ToDoubles()),
        t_(problem.targets.ToDoubles()),
        w_(problem.w.ToDoubles()),
        b_(problem.b.ToDoubles()) {}

  Observed Run() {
    Observed observed;
    Matrix before_w = w_;
    for (int step = 0; step < problem_.steps; ++step) {
      const Matrix old_w = w_;
      const Matrix y = Output(Has(Defect::kStaleWeights) ? before_w : w_);
      const Matrix dy = LossGradient(y);
      const Matrix dw = WeightGradient(dy);
      const Matrix db = BiasGradient(dy);
      observed.losses.push_back(Loss(y));
      if (step == 0) {
        observed.y = Store({m_, n_}, y);
        observed.dx = Store({m_, k_}, InputGradient(dy));
        observed.dw = Store({n_, k_}, dw);
        observed.db = Store({n_}, db);
      }
      Update(step, dw, &w_);
      Update(step, db, &b_);
      before_w = old_w;
    }
    observed.w = Store({n_, k_}, w_);
    observed.b = Store({n_}, b_);
    return observed;
  }

 private:
  bool Has(Defect defect) const { return simulation_.defect == defect; }
  bool column() const { return model_.mode == Mode::kColumn; }
  double Round(double value) const { return RoundTo(model_.dtype, value); }

  HostTensor Store(const Shape& shape, const Matrix& values) const {
    HostTensor tensor(shape, model_.dtype);
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.Set(i, values[i]);
    return tensor;
  }

  // Sum in one of several orders: as they come, backwards, shuffled, pairwise, in blocks.
  Acc Sum(std::vector<Acc> terms) {
    const int order = static_cast<int>(random_() % 4);
    if (order == 1) std::reverse(terms.begin(), terms.end());
    if (order == 2) std::shuffle(terms.begin(), terms.end(), random_);
    if (order == 3) {
      while (terms.size() > 1) {
        std::vector<Acc> next;
        for (size_t i = 0; i < terms.size(); i += 2) {
          next.push_back(i + 1 < terms.size() ? terms[i] + terms[i + 1] : terms[i]);
        }
        terms = std::move(next);
      }
    }
    Acc sum = 0;
    for (Acc term : terms) sum += term;
    return sum;
  }

  // Numbers of the element type, added two at a time and rounded to it each time.
  double Reduce(std::vector<double> shares) {
    if (Has(Defect::kYMaximum)) return *std::max_element(shares.begin(), shares.end());
    const DType dtype = Has(Defect::kReduceInBf16) ? DType::kBFloat16 : model_.dtype;
    if (!simulation_.balanced) std::shuffle(shares.begin(), shares.end(), random_);
    while (shares.size() > 1) {
      std::vector<double> next;
      const bool pairs = simulation_.balanced || random_() % 2 == 0;
      const size_t last = pairs ? shares.size() : 2;
      for (size_t i = 0; i < last; i += 2) {
        const bool pair = i + 1 < shares.size();
        next.push_back(
            pair ? RoundTo(dtype, static_cast<Acc>(shares[i]) + static_cast<Acc>(shares[i + 1]))
                 : shares[i]);
      }
      next.insert(next.end(), shares.begin() + static_cast<int64_t>(last), shares.end());
      shares = std::move(next);
    }
    return shares[0];
  }

  // One share a rank: sums over a[i(j)] * b[i(j)] for j in the rank's part of [0, size).
  template <typename Left, typename Right>
  std::vector<double> Shares(int64_t size, int parts, const Left& left, const Right& right,
                             Acc initial = 0) {
    const ShardGeometry geometry(size, parts);
    std::vector<double> shares;
    for (int part = 0; part < parts; ++part) {
      std::vector<Acc> terms;
      if (initial != 0) terms.push_back(initial);
      for (int64_t j = geometry.Offset(part); j < geometry.Offset(part + 1); ++j) {
        terms.push_back(static_cast<Acc>(left(j)) * static_cast<Acc>(right(j)));
      }
      shares.push_back(Round(Sum(std::move(terms))));
    }
    return shares;
  }

  Matrix Output(const Matrix& w) {
    Matrix y(m_ * n_);
    for (int64_t i = 0; i < m_ * n_; ++i) {
      const int64_t m = i / n_;
      const int64_t n = i % n_;
      const auto x_at = [&](int64_t k) { return x_[m * k_ + k]; };
      const auto w_at = [&](int64_t k) { return w[n * k_ + k]; };
      const bool inside = !column() && simulation_.bias_in_accumulator;
      std::vector<double> shares = Shares(k_, column() ? model_.tp : 1, x_at, w_at,
                                          inside ? static_cast<Acc>(b_[n]) : Acc{0});
      if (Has(Defect::kBiasOnEveryRank)) {
        for (double& share : shares)
          share = Round(static_cast<Acc>(share) + static_cast<Acc>(b_[n]));
      }
      if (Has(Defect::kYReduceMissing)) shares.resize(1);
      if (Has(Defect::kYShareDropped) && n < (n_ + 1) / 2) shares.pop_back();
      if (Has(Defect::kYShareTwice) && n < (n_ + 1) / 2) shares.push_back(shares.back());
      const size_t count = shares.size();
      double sum = Reduce(std::move(shares));
      if (Has(Defect::kYAverage)) sum = Round(sum / static_cast<double>(count));
      const bool done = inside || Has(Defect::kBiasOnEveryRank) || Has(Defect::kBiasMissing);
      y[i] = done ? sum : Round(static_cast<Acc>(sum) + static_cast<Acc>(b_[n]));
    }
    return Misplaced(y);
  }

  Matrix Misplaced(const Matrix& y) const {
    Matrix moved = y;
    const ShardGeometry geometry(n_, model_.tp);
    if (Has(Defect::kYTransposed)) {
      for (int64_t i = 0; i < m_ * n_; ++i) moved[(i % n_) * m_ + i / n_] = y[i];
    }
    for (int64_t i = 0; i < m_ * n_; ++i) {
      const int64_t n = i % n_;
      const int owner = geometry.OwnerOf(n);
      const int64_t local = n - geometry.Offset(owner);
      if (Has(Defect::kYRankMajor)) {
        moved[m_ * geometry.Offset(owner) + i / n_ * geometry.Length(owner) + local] = y[i];
      }
      if (Has(Defect::kYShardsSwapped) && owner < 2 && local < geometry.Length(1)) {
        moved[i - n + geometry.Offset(1 - owner) + local] = y[i];
      }
      if (Has(Defect::kYShardMissing) && owner == model_.tp - 1) moved[i] = 0;
    }
    if (Has(Defect::kNanInY)) moved[m_ * n_ - 1] = std::nan("");
    return moved;
  }

  double Loss(const Matrix& y) {
    std::vector<Acc> squares(m_ * n_);
    for (int64_t i = 0; i < m_ * n_; ++i) {
      const Acc difference = static_cast<Acc>(y[i]) - static_cast<Acc>(t_[i]);
      squares[i] = difference * difference;
    }
    Acc loss = static_cast<Acc>(problem_.scale()) * Sum(std::move(squares));
    if (Has(Defect::kLossAveragedTwice)) loss /= static_cast<Acc>(m_);
    return loss;
  }

  Matrix LossGradient(const Matrix& y) const {
    const Acc factor = 2 * static_cast<Acc>(problem_.scale());
    Matrix dy(m_ * n_);
    for (int64_t i = 0; i < m_ * n_; ++i) {
      dy[i] = Round(factor * (static_cast<Acc>(y[i]) - static_cast<Acc>(t_[i])));
    }
    return dy;
  }

  Matrix InputGradient(const Matrix& dy) {
    Matrix dx(m_ * k_);
    for (int64_t i = 0; i < m_ * k_; ++i) {
      const int64_t m = i / k_;
      const int64_t k = i % k_;
      const auto dy_at = [&](int64_t n) { return dy[m * n_ + n]; };
      const auto w_at = [&](int64_t n) { return w_[n * k_ + k]; };
      std::vector<double> shares = Shares(n_, column() ? 1 : model_.tp, dy_at, w_at);
      if (Has(Defect::kDxReduceMissing)) shares.resize(1);
      dx[i] = Reduce(std::move(shares));
      if (Has(Defect::kDxScaledByTp)) dx[i] = Round(dx[i] * model_.tp);
    }
    if (!Has(Defect::kDxShardsSwapped)) return dx;
    Matrix moved = dx;
    const ShardGeometry geometry(k_, model_.tp);
    for (int64_t i = 0; i < m_ * k_; ++i) {
      const int owner = geometry.OwnerOf(i % k_);
      const int64_t local = i % k_ - geometry.Offset(owner);
      if (owner > 1 || local >= geometry.Length(1)) continue;
      moved[i - i % k_ + geometry.Offset(1 - owner) + local] = dx[i];
    }
    return moved;
  }

  Matrix WeightGradient(const Matrix& dy) {
    Matrix dw(n_ * k_);
    for (int64_t i = 0; i < n_ * k_; ++i) {
      const auto dy_at = [&](int64_t m) { return dy[m * n_ + i / k_]; };
      const auto x_at = [&](int64_t m) { return x_[m * k_ + i % k_]; };
      std::vector<double> shares = Shares(m_, model_.dp, dy_at, x_at);
      if (Has(Defect::kDwReduceMissing)) shares.resize(1);
      dw[i] = Reduce(std::move(shares));
      if (Has(Defect::kDwAveragedOverDp)) dw[i] = Round(dw[i] / model_.dp);
      if (Has(Defect::kDwAveragedOverTp)) dw[i] = Round(dw[i] / model_.tp);
    }
    if (!Has(Defect::kDwTransposed)) return dw;
    Matrix moved(n_ * k_);
    for (int64_t i = 0; i < n_ * k_; ++i) moved[(i % k_) * n_ + i / k_] = dw[i];
    return moved;
  }

  Matrix BiasGradient(const Matrix& dy) {
    Matrix db(n_);
    for (int64_t n = 0; n < n_; ++n) {
      const auto dy_at = [&](int64_t m) { return dy[m * n_ + n]; };
      db[n] = Reduce(Shares(m_, model_.dp, dy_at, [](int64_t) { return 1.0; }));
      if (Has(Defect::kDbScaledByTp)) db[n] = Round(db[n] * model_.tp);
    }
    return db;
  }

  void Update(int step, const Matrix& gradient, Matrix* parameter) const {
    if (Has(Defect::kUpdateMissing) || (Has(Defect::kUpdateOnce) && step + 1 == problem_.steps)) {
      return;
    }
    Acc rate = static_cast<Acc>(problem_.learning_rate);
    if (Has(Defect::kUpdateSign)) rate = -rate;
    for (size_t i = 0; i < parameter->size(); ++i) {
      (*parameter)[i] =
          Round(static_cast<Acc>((*parameter)[i]) - rate * static_cast<Acc>(gradient[i]));
    }
  }

  const LinearProblem& problem_;
  const NumericModel& model_;
  const Simulation& simulation_;
  std::mt19937_64 random_;
  int64_t m_;
  int64_t k_;
  int64_t n_;
  Matrix x_;
  Matrix t_;
  Matrix w_;
  Matrix b_;
};

HostTensor Uniform(const Shape& shape, const RandomSpec& spec, uint64_t stream, double size) {
  HostTensor tensor(shape, spec.dtype);
  const RandomTensor random(spec.seed, stream);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    tensor.Set(i, size * random.Uniform(static_cast<uint64_t>(i)));
  }
  return tensor;
}

}  // namespace

Observed Simulate(const LinearProblem& problem, const NumericModel& model,
                  const Simulation& simulation) {
  if (model.dtype == DType::kFloat64) return Machine<double>(problem, model, simulation).Run();
  return Machine<float>(problem, model, simulation).Run();
}

LinearProblem RandomProblem(const RandomSpec& spec) {
  const double spread = spec.w_size / std::sqrt(static_cast<double>(spec.in_features));
  LinearProblem problem;
  problem.x = Uniform({spec.tokens, spec.in_features}, spec, 1, spec.x_size);
  problem.targets = Uniform({spec.tokens, spec.out_features}, spec, 2, spec.target_size);
  problem.w = Uniform({spec.out_features, spec.in_features}, spec, 3, spread);
  problem.b = Uniform({spec.out_features}, spec, 4, spread);
  problem.learning_rate = spec.learning_rate;
  problem.steps = spec.steps;
  problem.loss_scale = spec.loss_scale;
  return problem;
}

}  // namespace tp::verify
