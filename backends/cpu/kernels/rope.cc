#include <cmath>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// Of one place in the sequence: the cosines of a head's angles, then the sines.
template <typename Wide>
void Angles(const KernelCall& c, int64_t position, int64_t size, Wide* table) {
  const double turns = c.op.attributes.Number("turns");
  const double base = c.op.attributes.Number("base");
  for (int64_t i = 0; i < size / 2; ++i) {
    const double angle = turns * static_cast<double>(position) *
                         std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(size));
    table[i] = static_cast<Wide>(std::cos(angle));
    table[size / 2 + i] = static_cast<Wide>(std::sin(angle));
  }
}

void Rope(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const int rows = c.in[0].dims.size() - 1;
    const Dim x_dim = c.in[0].dims[rows], y_dim = c.out[0].dims[rows];
    const int64_t size = x_dim.size, half = size / 2;
    Wide* const table = reinterpret_cast<Wide*>(c.scratch);
    Wide* const x = table + size;
    Wide* const y = x + size;
    const auto turn = [&](const Index& index) {
      LoadLine<T>(c.in[0], LineAt(c.in[0], index, rows), x_dim.stride, size, x);
      for (int64_t i = 0; i < half; ++i) {
        y[i] = x[i] * table[i] - x[half + i] * table[half + i];
        y[half + i] = x[half + i] * table[i] + x[i] * table[half + i];
      }
      if (size % 2 != 0) y[size - 1] = x[size - 1];
      StoreLine<T>(y, c.out[0], LineAt(c.out[0], index, rows), y_dim.stride, size);
    };
    // Place by place, so that its angles are worked out once.
    Tensor at_one_place = c.in[0];
    at_one_place.dims[1].size = 1;
    for (int64_t s = 0; s < c.in[0].dims[1].size; ++s) {
      Angles(c, c.op.PartOf('s').begin + s, size, table);
      ForEachIndex(at_one_place, rows, [&](Index index) {
        index[1] = s;
        turn(index);
      });
    }
  });
}

}  // namespace

const Kernel kRopeKernel = {Action{"rope"}, Rope, [](const KernelCall& c) {
                              return 3 * c.in[0].dims[c.in[0].dims.size() - 1].size * 8;
                            }};

}  // namespace tp::cpu
