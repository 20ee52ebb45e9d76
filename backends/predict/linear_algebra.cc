#include "backends/predict/linear_algebra.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace tp::predict {

bool Cholesky(std::vector<double>& a, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    double* row = &a[i * n];
    for (size_t j = 0; j <= i; ++j) {
      const double* other = &a[j * n];
      double sum = row[j];
      for (size_t k = 0; k < j; ++k) sum -= row[k] * other[k];
      if (j < i) {
        row[j] = sum / other[j];
      } else if (sum > 0) {
        row[i] = std::sqrt(sum);
      } else {
        return false;
      }
    }
  }
  return true;
}

void SolveLower(const std::vector<double>& l, size_t n, std::vector<double>& b) {
  for (size_t i = 0; i < n; ++i) {
    double sum = b[i];
    for (size_t k = 0; k < i; ++k) sum -= l[i * n + k] * b[k];
    b[i] = sum / l[i * n + i];
  }
}

void SolveUpper(const std::vector<double>& l, size_t n, std::vector<double>& b) {
  for (size_t i = n; i-- > 0;) {
    b[i] /= l[i * n + i];
    for (size_t k = 0; k < i; ++k) b[k] -= l[i * n + k] * b[i];
  }
}

std::vector<double> Minimize(const std::function<double(const std::vector<double>&)>& f,
                             std::vector<double> start, double step, int calls) {
  const size_t n = start.size();
  std::vector<std::pair<double, std::vector<double>>> simplex;
  simplex.emplace_back(f(start), start);
  for (size_t i = 0; i < n; ++i) {
    std::vector<double> corner = start;
    corner[i] += step;
    simplex.emplace_back(f(corner), corner);
  }
  const auto by_value = [](const auto& a, const auto& b) { return a.first < b.first; };
  for (int call = static_cast<int>(n) + 1; call < calls;) {
    std::stable_sort(simplex.begin(), simplex.end(), by_value);
    std::vector<double> middle(n);
    for (size_t c = 0; c < n; ++c) {
      for (size_t i = 0; i < n; ++i) middle[i] += simplex[c].second[i] / static_cast<double>(n);
    }
    const auto along = [&](double t) {
      std::vector<double> point(n);
      for (size_t i = 0; i < n; ++i) point[i] = middle[i] + t * (simplex[n].second[i] - middle[i]);
      ++call;
      const double value = f(point);
      return std::pair(value, std::move(point));
    };
    auto mirrored = along(-1);
    if (mirrored.first < simplex[0].first) {
      auto further = along(-2);
      simplex[n] = further.first < mirrored.first ? std::move(further) : std::move(mirrored);
    } else if (mirrored.first < simplex[n - 1].first) {
      simplex[n] = std::move(mirrored);
    } else {
      auto nearer = along(mirrored.first < simplex[n].first ? -0.5 : 0.5);
      if (nearer.first < std::min(mirrored.first, simplex[n].first)) {
        simplex[n] = std::move(nearer);
      } else {
        for (size_t c = 1; c <= n; ++c) {
          for (size_t i = 0; i < n; ++i) {
            simplex[c].second[i] = (simplex[c].second[i] + simplex[0].second[i]) / 2;
          }
          simplex[c].first = f(simplex[c].second);
          ++call;
        }
      }
    }
  }
  return std::min_element(simplex.begin(), simplex.end(), by_value)->second;
}

}  // namespace tp::predict
