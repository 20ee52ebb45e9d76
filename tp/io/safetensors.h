// Hugging Face's .safetensors files: named tensors, of which one is read at a time.
//
// Of a file only its header and the asked tensor's bytes are read. Every file is taken for hostile:
// the header must account for each byte of the data exactly once, so offsets that are out of range,
// overlap or leave holes are errors, as are sizes that contradict a shape and names that come
// twice. An error is one line with the path, the tensor and what is wrong. NaN and infinity are
// read as they are (see CheckFinite).
//
// Source: https://github.com/huggingface/safetensors, section Format
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/core/shape.h"
#include "tp/core/status.h"

namespace tp::io {

// What a header says of one tensor.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as in the file, "BF16"; also of types that ReadSafetensors refuses
  Shape shape;
  int64_t begin = 0;  // its bytes, counted from the first byte after the header
  int64_t end = 0;
};

// What a file says before its data.
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of their bytes
  int64_t data_begin = 0;                 // the first byte after the header
  int64_t file_bytes = 0;                 // in all
};
StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const std::string& path);

// All tensors, in the order of their bytes.
StatusOr<std::vector<SafetensorsEntry>> ListSafetensors(const std::string& path);

// The tensor `name`, as kFloat64 (F64), kFloat32 (F32), kBFloat16 (BF16) or kFloat16 (F16); other
// types are an error. Another shape than `expected_shape` is an error, found before its data are
// read.
StatusOr<HostTensor> ReadSafetensors(const std::string& path, std::string_view name,
                                     const std::optional<Shape>& expected_shape = std::nullopt);

// The same from a file's bytes; errors call them `file`.
StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsList(std::span<const std::byte> bytes,
                                                             const std::string& file);
StatusOr<HostTensor> ParseSafetensors(std::span<const std::byte> bytes, const std::string& file,
                                      std::string_view name);

// The type of a header's dtype, F64, F32, BF16, F16 or I32; none where it is one that is not
// computed with here.
std::optional<DType> SafetensorsDType(std::string_view dtype);
std::string_view SafetensorsName(DType dtype);

// All that comes before the data of a file with these tensors, whose bytes follow each other in
// this order: it sets their begins and ends. Names must differ.
std::string EncodeSafetensorsHead(std::vector<SafetensorsEntry>& entries);

// Where a user says a tensor lies: "FILE.safetensors:NAME", or the path of a file that is a tensor.
struct TensorPath {
  std::string file;
  std::string name;  // empty where the file is the tensor
};

// Splits after the first ".safetensors:", since both paths and names may hold colons. A
// .safetensors file without a name is an error.
StatusOr<TensorPath> SplitTensorPath(std::string_view text);

}  // namespace tp::io
