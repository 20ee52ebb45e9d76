#include "backends/cpu/functions.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numbers>

#include "Eigen/Core"
#include "unsupported/Eigen/SpecialFunctions"

namespace tp::cpu {
namespace {

// A whole number of vectors of every instruction set. Elements that fill none, at an odd address or
// at the end, Eigen would take one by one, by other code, whose last bits are others.
constexpr size_t kBlock = 16;
using Block = Eigen::Array<float, kBlock, 1>;

template <typename F>
void Map(std::span<const float> in, std::span<float> out, const F& f) {
  size_t begin = 0;
  for (; begin + kBlock <= in.size(); begin += kBlock) {
    Eigen::Map<Block>(out.data() + begin) = f(Eigen::Map<const Block>(in.data() + begin));
  }
  if (begin == in.size()) return;
  Block block = Block::Zero();
  const size_t count = in.size() - begin;
  std::copy_n(in.data() + begin, count, block.data());
  const Block result = f(block);
  std::copy_n(result.data(), count, out.data() + begin);
}

// By exp(-|x|), which can't overflow. Eigen's logistic is off by thousands of ulps where it is
// small.
void Sigmoid(std::span<const float> in, std::span<float> out) {
  std::array<float, 16 * kBlock> power;
  for (size_t begin = 0; begin < in.size(); begin += power.size()) {
    const size_t count = std::min(power.size(), in.size() - begin);
    for (size_t i = 0; i < count; ++i) power[i] = -std::abs(in[begin + i]);
    const std::span<float> powers = std::span(power).first(count);
    Map(powers, powers, [](const auto& x) { return x.exp(); });
    for (size_t i = 0; i < count; ++i) {
      const float whole = 1 / (1 + power[i]);
      out[begin + i] = in[begin + i] >= 0 ? whole : power[i] * whole;
    }
  }
}

// Where Eigen's numerator is below the normal range and loses bits, the first term of the series.
constexpr auto kErf = [](const auto& x) -> Block {
  constexpr auto kSlope = static_cast<float>(2 * std::numbers::inv_sqrtpi);
  return (x.abs() < 0x1p-12f).select(x * kSlope, x.erf());
};

}  // namespace

void Apply(Function function, std::span<const float> in, std::span<float> out) {
  CHECK_EQ(in.size(), out.size());
  switch (function) {
    case Function::kExp:
      return Map(in, out, [](const auto& x) { return x.exp(); });
    case Function::kLog:
      return Map(in, out, [](const auto& x) { return x.log(); });
    case Function::kSqrt:  // Eigen's takes subnormal numbers for 0 and infinity for none
      std::transform(in.begin(), in.end(), out.begin(), [](float x) { return std::sqrt(x); });
      return;
    case Function::kRsqrt:
      std::transform(in.begin(), in.end(), out.begin(), [](float x) { return 1 / std::sqrt(x); });
      return;
    case Function::kTanh:
      return Map(in, out, [](const auto& x) { return x.tanh(); });
    case Function::kSigmoid:
      return Sigmoid(in, out);
    case Function::kErf:
      return Map(in, out, kErf);
  }
  LOG(FATAL) << "no such function: " << static_cast<int>(function);
}

// What `bazel run //tests/backends/cpu:function_errors` printed, for each set of instructions that
// it was compiled for and ran on.
const FunctionErrors* ErrorsOfFunctions() {
  struct Known {
    const char* compiled_as;
    FunctionErrors errors;
  };
  // That log takes subnormal numbers for the least normal one is what `least` says.
  static constexpr Known kKnown[] = {
      {"GCC 12.2, Eigen 3.4.0, AVX512, FMA, AVX2, AVX, SSE, SSE2, SSE3, SSSE3, SSE4.1, SSE4.2",
       {{{
           // exp: at 0x1.601e28p+6
           {.ulps = 4.551394, .below = 0x1.6a08f8c273c6cp-127, .overflow = 0x1.6a09fd23733cdp+127},
           {.ulps = 0.899920, .least = 0x1p-126},                // log: at 0x1.66cb32p-1
           {.ulps = 0.5},                                        // sqrt: at 0x1.fffffep-125
           {.ulps = 1.490350},                                   // rsqrt: at 0x1.019566p-126
           {.ulps = 4.896238},                                   // tanh: at 0x1.481106p+2
           {.ulps = 4.492043, .below = 0x1.6a08f8c273c6cp-127},  // sigmoid: at -0x1.5a9366p+6
           {.ulps = 7.420231, .below = 0x1.df14ab4p-150},        // erf: at 0x1.f34edap+1
       }}}},
      {"GCC 12.2, Eigen 3.4.0, AVX SSE, SSE2, SSE3, SSSE3, SSE4.1, SSE4.2, with AVX2 and FMA",
       {{{
           {.ulps = 1.275572, .below = 0x1.ffebp-129},     // exp: at 0x1.f419cap+3
           {.ulps = 0.899920, .least = 0x1p-126},          // log: at 0x1.66cb32p-1
           {.ulps = 0.5},                                  // sqrt: at 0x1.fffffep-125
           {.ulps = 1.490350},                             // rsqrt: at 0x1.019566p-126
           {.ulps = 4.896238},                             // tanh: at 0x1.481106p+2
           {.ulps = 2.996560, .below = 0x1.ffebp-129},     // sigmoid: at -0x1.094bdcp+2
           {.ulps = 7.420232, .below = 0x1.df14ab4p-150},  // erf: at 0x1.f34edap+1
       }}}},
      {"GCC 12.2, Eigen 3.4.0, SSE, SSE2, SSE3, SSSE3, SSE4.1, SSE4.2",  // --config=portable
       {{{
           {.ulps = 1.298248, .below = 0x1.ffebp-129},     // exp: at 0x1.f404aap+3
           {.ulps = 1.067420, .least = 0x1p-126},          // log: at 0x1.69f92cp+21
           {.ulps = 0.5},                                  // sqrt: at 0x1.fffffep-125
           {.ulps = 1.490350},                             // rsqrt: at 0x1.019566p-126
           {.ulps = 6.882285},                             // tanh: at 0x1.74fbecp+2
           {.ulps = 2.996560, .below = 0x1.ffebp-129},     // sigmoid: at -0x1.094bdcp+2
           {.ulps = 7.851433, .below = 0x1.df14ab4p-150},  // erf: at 0x1.a28478p+1
       }}}},
  };
  static const Known* const known =
      std::ranges::find(kKnown, FunctionLibrary(), &Known::compiled_as);
  return known == std::end(kKnown) ? nullptr : &known->errors;
}

std::string FunctionLibrary() {
  std::string instructions = Eigen::SimdInstructionSetsInUse();
#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)
  instructions += ", with AVX2 and FMA";  // of which Eigen says nothing
#endif
  return "GCC " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__) + ", Eigen " +
         std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
         std::to_string(EIGEN_MINOR_VERSION) + ", " + instructions;
}

}  // namespace tp::cpu
