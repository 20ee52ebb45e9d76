#include <cmath>
#include <numbers>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// Of each pair of a head of `size` elements, how far it turns a place (tp/ops/rope.h).
void Turns(const Attributes& attributes, int64_t size, double* turns) {
  const double original = attributes.Number("original");
  const double low = attributes.Number("low"), high = attributes.Number("high");
  for (int64_t i = 0; i < size / 2; ++i) {
    const double turn = std::pow(attributes.Number("base"),
                                 -2.0 * static_cast<double>(i) / static_cast<double>(size));
    const double slow = turn / attributes.Number("factor");
    const double within = original * turn / (2 * std::numbers::pi);
    if (original <= 0 || within < low) {
      turns[i] = slow;
    } else if (within > high) {
      turns[i] = turn;
    } else {
      const double kept = (within - low) / (high - low);
      turns[i] = (1 - kept) * slow + kept * turn;
    }
  }
}

// Pairs of a head, as they lie.
template <typename Wide>
void TurnPairs(int64_t pairs, int64_t step, int64_t apart, const Wide* cosines, const Wide* sines,
               const Wide* x, Wide* y) {
  for (int64_t i = 0; i < pairs; ++i) {
    const Wide first = x[i * step], second = x[i * step + apart];
    y[i * step] = first * cosines[i] - second * sines[i];
    y[i * step + apart] = second * cosines[i] + first * sines[i];
  }
}

void Rope(const KernelCall& c) {
  const bool interleaved = c.op.attributes.Integer("interleaved") != 0;
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const int rows = c.in[0].dims.size() - 1;
    const Dim x_dim = c.in[0].dims[rows], y_dim = c.out[0].dims[rows];
    const int64_t size = x_dim.size, half = size / 2;
    auto* const turns = reinterpret_cast<double*>(c.scratch);
    Wide* const cosines = reinterpret_cast<Wide*>(turns + half);
    Wide* const sines = cosines + half;
    Wide* const x = sines + half;
    Wide* const y = x + size;
    Turns(c.op.attributes, size, turns);
    const auto turn = [&](const Index& index) {
      LoadLine<T>(c.in[0], LineAt(c.in[0], index, rows), x_dim.stride, size, x);
      if (interleaved) {
        TurnPairs<Wide>(half, 2, 1, cosines, sines, x, y);
      } else {
        TurnPairs<Wide>(half, 1, half, cosines, sines, x, y);
      }
      if (size % 2 != 0) y[size - 1] = x[size - 1];
      StoreLine<T>(y, c.out[0], LineAt(c.out[0], index, rows), y_dim.stride, size);
    };
    // Place by place, so that its angles are worked out once.
    Tensor at_one_place = c.in[0];
    at_one_place.dims[1].size = 1;
    for (int64_t s = 0; s < c.in[0].dims[1].size; ++s) {
      const auto position = static_cast<double>(c.op.PartOf('s').begin + s);
      for (int64_t i = 0; i < half; ++i) {
        const double angle = c.op.attributes.Number("turns") * position * turns[i];
        cosines[i] = static_cast<Wide>(std::cos(angle));
        sines[i] = static_cast<Wide>(std::sin(angle));
      }
      ForEachIndex(at_one_place, rows, [&](Index index) {
        index[1] = s;
        turn(index);
      });
    }
  });
}

}  // namespace

const Kernel kRopeKernel = {Action{"rope"}, Rope, [](const KernelCall& c) {
                              return 4 * c.in[0].dims[c.in[0].dims.size() - 1].size * 8;
                            }};

}  // namespace tp::cpu
