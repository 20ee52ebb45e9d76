// The linear layer's training step in plain loops, for what must be the same to the bit.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace tp {

// Plain loops over whole matrices: the step and its update, as a person would write them.
struct Plain {
  int64_t m, k, n;
  double learning_rate, scale;
  std::map<std::string, std::vector<double>> v;

  void Run() {
    const std::vector<double> x = v["x"], t = v["targets"], w = v["w"], b = v["b"];
    std::vector<double> y(m * n), dy(m * n), dx(m * k), dw(n * k), db(n);
    double loss = 0;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t o = 0; o < n; ++o) {
        double sum = b[o];
        for (int64_t c = 0; c < k; ++c) sum += x[i * k + c] * w[o * k + c];
        const double error = sum - t[i * n + o];
        y[i * n + o] = sum;
        loss += scale * error * error;
        dy[i * n + o] = 2 * scale * error;
        db[o] += dy[i * n + o];
        for (int64_t c = 0; c < k; ++c) {
          dx[i * k + c] += dy[i * n + o] * w[o * k + c];
          dw[o * k + c] += dy[i * n + o] * x[i * k + c];
        }
      }
    }
    for (int64_t o = 0; o < n; ++o) v["b"][o] -= learning_rate * db[o];
    for (int64_t i = 0; i < n * k; ++i) v["w"][i] -= learning_rate * dw[i];
    v["y"] = y;
    v["loss"] = {loss};
    v["dx"] = dx;
    v["dw"] = dw;
    v["db"] = db;
  }
};

}  // namespace tp
