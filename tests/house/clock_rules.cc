#include "tests/house/clock_rules.h"

#include <regex>

namespace tp {
namespace {

bool Asks(std::string_view line) {
  static const std::regex kCalls(
      "[cC]lock::now\\b|\\b(clock_gettime|gettimeofday|timespec_get|std::clock) *\\(|"
      "\\btime *\\( *(nullptr|NULL|0|&)|__rdtscp?\\b|__builtin_ia32_rdtsc");
  return std::regex_search(std::string(line.substr(0, line.find("//"))), kCalls);
}

}  // namespace

std::string ObjectionToClock(std::string_view from, std::string_view line) {
  const bool bound =
      from.starts_with("tp/") || from.starts_with("tools/") || from.starts_with("backends/cpu/");
  if (!bound || from == "tp/core/clock.cc" || !Asks(line)) return "";
  return "only tp/core/clock.cc reads a clock; ask a Clock";
}

}  // namespace tp
