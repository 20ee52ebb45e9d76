#include "tools/bench/options.h"

namespace tp::bench {

std::string DTypeName(const BenchOptions& options) {
  return options.tf32 ? "tf32" : std::string(Name(options.dtype));
}

}  // namespace tp::bench
