#pragma once

// Owns nothing: the one clock that times are taken on, std::chrono::steady_clock, in nanoseconds.
// The processes of one host share it, those of two hosts do not. Any thread may ask.

#include <chrono>
#include <cstdint>

namespace tp {

inline int64_t SteadyNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace tp
