// What kriging needs of linear algebra, for some hundred unknowns.
#pragma once

#include <cmath>
#include <cstddef>
#include <functional>
#include <vector>

namespace tp::predict {

// Factors the symmetric positive definite matrix `a` of `n` rows, row-major, in place: its lower
// triangle becomes L of L L^T = a. False where it is not positive definite.
bool Cholesky(std::vector<double>& a, size_t n);
// Solves L x = b, and L^T x = b, in place.
void SolveLower(const std::vector<double>& l, size_t n, std::vector<double>& b);
void SolveUpper(const std::vector<double>& l, size_t n, std::vector<double>& b);

// The least of `f` that a simplex comes to from `start` (Nelder & Mead, 1965), in so many calls.
std::vector<double> Minimize(const std::function<double(const std::vector<double>&)>& f,
                             std::vector<double> start, double step, int calls);

}  // namespace tp::predict
