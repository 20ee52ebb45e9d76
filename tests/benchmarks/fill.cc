// How fast a rank's parameters are drawn: billions of elements a second.
//
//   ./bazelw run //tests/benchmarks:fill
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/programs/printed.h"
#include "tp/core/clock.h"
#include "tp/core/numbers.h"
#include "tp/runtime/assemble.h"

namespace tp {
namespace {

constexpr int64_t kRows = 8192, kColumns = 8192;

void Fill(std::string_view name, DType dtype, const std::function<double(int64_t)>& source) {
  Binding binding;
  binding.shape = {kRows, 2 * kColumns};
  binding.dtype = dtype;
  binding.view = PackedView(0, 0, {kRows, kColumns}, Order::Own(2));
  std::vector<std::byte> buffer(kRows * kColumns * SizeOf(dtype));
  double best = 0;
  for (int again = 0; again < 3; ++again) {
    const int64_t begin = HostClock().NowNs();
    FillLocal(binding, source, buffer);
    const auto took = static_cast<double>(HostClock().NowNs() - begin);
    best = std::max(best, static_cast<double>(kRows * kColumns) / took);
  }
  fmt::print("{:8} {}: {:.3f} billion a second\n", name, Name(dtype), best);
}

}  // namespace
}  // namespace tp

int main() {
  const tp::UniformNumbers uniform{0.02, tp::RandomTensor(1, 2)};
  for (tp::DType dtype : {tp::DType::kBFloat16, tp::DType::kFloat32}) {
    tp::Fill("uniform", dtype, uniform);
    tp::Fill("by index", dtype, [&uniform](int64_t i) { return uniform(i); });
    tp::Fill("equal", dtype, tp::EqualNumbers{1});
  }
  return tp::Printed(0);
}
