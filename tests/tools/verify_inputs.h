// Tensors of a user for the tests of verify: x, targets, w and b of a small layer.
#pragma once

#include <cstdint>
#include <string>

#include "tests/tools/command.h"
#include "tp/core/dtype.h"
#include "tp/core/host_tensor.h"
#include "tp/core/shape.h"

namespace tp {

inline constexpr int64_t kTokens = 6;
inline constexpr int64_t kIn = 9;
inline constexpr int64_t kOut = 7;

CommandResult Verify(const std::string& arguments);

// One line that says what is wrong, with `words` in it, a failing exit, nothing on stdout.
void ExpectRefusal(const std::string& arguments, const std::string& words);

bool Contains(const std::string& text, const std::string& words);

HostTensor Random(const Shape& shape, uint64_t stream, DType dtype = DType::kFloat32);

// As .npy.
void Write(const std::string& path, const HostTensor& tensor);

// A new folder with x, targets, w and b as bench and verify take them.
std::string MakeInputs(DType dtype = DType::kFloat32);

}  // namespace tp
