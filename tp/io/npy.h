// NumPy's .npy files: one tensor a file.
//
// Reads format versions 1.0, 2.0 and 3.0 with elements float32 or float64, of either byte order, in
// C or Fortran order; the result is row-major. Writes as numpy.save does: version
// 1.0, little-endian, C order. Every file is taken for hostile: sizes are checked against each
// other and against the file before anything is allocated for them, and an error is one line with
// the path and what is wrong. NaN and infinity are read as they are (see CheckFinite).
//
// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "tp/core/host_tensor.h"
#include "tp/core/shape.h"
#include "tp/core/status.h"
#include "tp/io/byte_source.h"

namespace tp::io {

// A tensor of kFloat32 or kFloat64, as the file has it. Another shape than `expected_shape` is an
// error, found before the data are read.
StatusOr<HostTensor> ReadNpy(const std::string& path,
                             const std::optional<Shape>& expected_shape = std::nullopt);

// The same from a file's bytes; errors call them `name`.
StatusOr<HostTensor> ParseNpy(std::span<const std::byte> bytes, const std::string& name);

// The shape alone, from the header; the file's size must fit it.
StatusOr<Shape> ReadNpyShape(const std::string& path);

// The bytes of a .npy file. bf16 and fp16, which the format has no common name for, become float32,
// exactly.
std::string EncodeNpy(const HostTensor& tensor);

// Where an array lies in its file, with sizes that the file bears out.
struct NpyLayout {
  char kind = 'f';    // of its elements: 'f' float, 'i' int, 'u' unsigned int
  int64_t width = 4;  // bytes of each
  bool big_endian = false;
  bool fortran_order = false;
  Shape shape;
  int64_t begin = 0;  // of the data
};

// What a .npy file of integers of 8 to 64 bits says of itself.
StatusOr<NpyLayout> ReadNpyIntegers(const ByteSource& source);

// Writes EncodeNpy(tensor), whole or not at all (see atomic_file.h).
Status WriteNpy(const std::string& path, const HostTensor& tensor);

}  // namespace tp::io
