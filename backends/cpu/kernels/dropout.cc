#include <algorithm>
#include <cmath>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"
#include "tp/core/random.h"

namespace tp::cpu {
namespace {

// The part that this rank has of dimension `d`.
const LetterPart& PartOf(const KernelCall& c, int d) {
  return c.op.PartOf(static_cast<char>('A' + d));
}

void Dropout(const KernelCall& c) {
  const double rate = c.op.attributes.Number("rate");
  const auto threshold = static_cast<uint64_t>(std::round(rate * 0x1p32));
  const int64_t seed = *static_cast<const int32_t*>(c.in[1].data);
  const RandomTensor random(static_cast<uint64_t>(seed),
                            static_cast<uint64_t>(c.op.attributes.Integer("stream")));
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const auto factor = static_cast<Wide>(1 / (1 - rate));
    const Tensor &x = c.in[0], &out = c.out[0];
    const int outer = std::max(x.dims.size() - 1, 0);
    const bool scalar = x.dims.size() == 0;
    const Dim from = scalar ? Dim{1, 1} : x.dims[outer];
    const Dim to = scalar ? Dim{1, 1} : out.dims[outer];
    Wide line[kBlock];
    ForEachIndex(x, outer, [&](const Index& index) {
      uint64_t first = 0;  // of this line, counted in the global tensor
      for (int d = 0; d < x.dims.size(); ++d) {
        const LetterPart& part = PartOf(c, d);
        first = first * static_cast<uint64_t>(part.whole) +
                static_cast<uint64_t>(part.begin + (d < outer ? index[d] : 0));
      }
      for (int64_t begin = 0; begin < from.size; begin += kBlock) {
        const int64_t n = std::min(kBlock, from.size - begin);
        LoadLine<T>(x, LineAt(x, index, outer) + begin * from.stride, from.stride, n, line);
        for (int64_t j = 0; j < n; ++j) {
          const bool kept = random.Bits(first + static_cast<uint64_t>(begin + j)) >= threshold;
          line[j] = kept ? line[j] * factor : Wide{0};
        }
        StoreLine<T>(line, out, LineAt(out, index, outer) + begin * to.stride, to.stride, n);
      }
    });
  });
}

}  // namespace

const Kernel kDropoutKernel = {Action{"dropout"}, Dropout};

}  // namespace tp::cpu
