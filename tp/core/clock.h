// SteadyNanoseconds: the clock that what is measured is measured on, std::chrono::steady_clock.
//
// The processes of one host share it, those of two hosts do not. Any thread may ask.
#pragma once

#include <chrono>
#include <cstdint>

namespace tp {

inline int64_t SteadyNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace tp
