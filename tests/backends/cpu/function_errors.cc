// The errors of the elementary functions over all floats:
//   bazel run //tests/backends/cpu:function_errors -- [function...]
// A minute or so a function on an idle core; it takes all cores. What it prints goes into
// backends/cpu/functions.cc. The C library's float functions are there to compare.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "backends/cpu/functions.h"
#include "fmt/format.h"
#include "tests/backends/cpu/function_error.h"
#include "tests/programs/printed.h"

namespace tp::cpu {
namespace {

float InStd(Function function, float x) {
  switch (function) {
    case Function::kExp:
      return std::exp(x);
    case Function::kLog:
      return std::log(x);
    case Function::kSqrt:
      return std::sqrt(x);
    case Function::kRsqrt:
      return 1 / std::sqrt(x);
    case Function::kTanh:
      return std::tanh(x);
    case Function::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Function::kErf:
      return std::erf(x);
  }
  return 0;
}

MeasuredError OverAll(Function function, const FloatFunction& implementation) {
  const unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  const uint64_t all = uint64_t{1} << 32;
  std::vector<MeasuredError> parts(threads);
  std::vector<std::thread> workers;
  for (unsigned i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] {
      parts[i] =
          MeasureError(function, implementation, all * i / threads, all * (i + 1) / threads, 1);
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (unsigned i = 1; i < threads; ++i) {
    parts[0].normal.Include(parts[i].normal);
    parts[0].subnormal.Include(parts[i].subnormal);
  }
  return parts[0];
}

void Print(const char* library, Function function, const MeasuredError& measured) {
  const FunctionError error = measured.error();
  fmt::print("{} {}: {{.ulps = {:.6f}, .below = {:a}, .least = {:a}, .overflow = {:a}}}, at {:a}",
             library, Name(function), error.ulps, error.below, error.least, error.overflow,
             measured.normal.worst);
  fmt::print("; subnormal arguments: {:.6g} ulps; wrong: {}", measured.subnormal.ulps,
             measured.normal.wrong);
  if (measured.normal.wrong > 0) fmt::print(", first at {:a}", measured.normal.first_wrong);
  fmt::print("\n");
  std::fflush(stdout);
}

int Main(const std::vector<std::string>& names) {
  fmt::print("{}\n", FunctionLibrary());
  const auto wanted = [&](Function function) {
    return names.empty() || std::find(names.begin(), names.end(), Name(function)) != names.end();
  };
  for (Function function : kAllFunctions) {
    if (!wanted(function)) continue;
    Print("ours", function,
          OverAll(function, [&](auto in, auto out) { Apply(function, in, out); }));
  }
  for (Function function : kAllFunctions) {
    if (!wanted(function)) continue;
    Print("std", function, OverAll(function, [&](auto in, auto out) {
            for (size_t i = 0; i < in.size(); ++i) out[i] = InStd(function, in[i]);
          }));
  }
  return 0;
}

}  // namespace
}  // namespace tp::cpu

int main(int argc, char** argv) { return tp::Printed(tp::cpu::Main({argv + 1, argv + argc})); }
