#include <array>
#include <cstddef>
#include <span>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// Rounded once: from double to 16 bits not by way of a float.
template <typename To, typename Wide>
To Rounded(DType to, Wide value) {
  if constexpr (sizeof(Wide) == 8 && sizeof(To) == 2) {
    std::array<std::byte, 2> bytes;
    EncodeFromDouble(to, std::span(&value, 1), bytes);
    return std::bit_cast<To>(bytes);
  } else {
    return Element<To>::Narrow(static_cast<typename Element<To>::Wide>(value));
  }
}

void Cast(const KernelCall& c) {
  if (c.in[0].empty()) return;
  VisitElement(c.dtype, [&]<typename From>(From) {
    VisitElement(c.out_dtype, [&]<typename To>(To) {
      const Lines<2> lines({&c.in[0], &c.out[0]});
      lines.ForEach([&](const auto& at) {
        const From* const from = static_cast<const From*>(c.in[0].data) + at[0];
        To* const to = static_cast<To*>(c.out[0].data) + at[1];
        for (int64_t j = 0; j < lines.length; ++j) {
          to[j * lines.strides[1]] =
              Rounded<To>(c.out_dtype, Element<From>::Widen(from[j * lines.strides[0]]));
        }
      });
    });
  });
}

}  // namespace

const Kernel kCastKernel = {Action{"cast"}, Cast};

}  // namespace tp::cpu
