#include "tp/runtime/npy_storage.h"

#include <fcntl.h>

#include <algorithm>
#include <span>
#include <utility>

#include "tp/runtime/file.h"

namespace tp {
namespace {

// The type of a file's elements.
DType FileTypeOf(DType dtype) {
  return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
}

// All that is before a file's elements: the format's version 1.0.
// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
std::string HeaderOf(const Value& value) {
  constexpr size_t kAlignment = 64;
  std::string sizes;
  for (int64_t size : value.shape) sizes += std::to_string(size) + ", ";
  if (value.shape.size() > 1) sizes.resize(sizes.size() - 2);
  if (value.shape.size() == 1) sizes.pop_back();
  std::string text = "{'descr': '<f" + std::to_string(SizeOf(FileTypeOf(value.dtype))) +
                     "', 'fortran_order': False, 'shape': (" + sizes + "), }";
  const std::string magic("\x93NUMPY\x01\x00", 8);
  const size_t unpadded = magic.size() + 2 + text.size() + 1;
  text.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  text += '\n';
  return magic + static_cast<char>(text.size() & 0xff) + static_cast<char>(text.size() >> 8) + text;
}

// The text of a header, as a person reads it.
std::string TextOf(const std::string& header) {
  const size_t end = header.find_last_not_of(" \n");
  return header.substr(10, end == std::string::npos ? 0 : end + 1 - 10);
}

Status CheckFile(const std::string& path, const StoredFile& expected,
                 const std::string& parameter) {
  const File file(path, O_RDONLY);
  TP_RETURN_IF_ERROR(file.opened("cannot be read"));
  TP_ASSIGN_OR_RETURN(const int64_t size, file.Size());
  std::string head(std::min(static_cast<size_t>(size), expected.head.size()), '\0');
  TP_RETURN_IF_ERROR(file.ReadAt(0, std::as_writable_bytes(std::span(head))));
  if (head != expected.head) {
    if (head.size() < 10 || head.substr(0, 8) != expected.head.substr(0, 8)) {
      return InvalidArgument(path + ": is no .npy file of version 1.0");
    }
    std::string text = TextOf(head);
    for (char& c : text) c = c >= ' ' && c <= '~' ? c : '?';
    return InvalidArgument(path + ": says " + text + ", and '" + parameter + "' needs " +
                           TextOf(expected.head));
  }
  if (size != expected.bytes) {
    return InvalidArgument(path + ": has " + std::to_string(size) + " bytes and should have " +
                           std::to_string(expected.bytes) + "; it is not whole");
  }
  return OkStatus();
}

}  // namespace

StatusOr<Storage> NpyStorage(const Program& program) {
  Storage storage;
  for (const Op& op : program.ops()) {
    if (!op.Is(kParameter)) continue;
    const Value& value = program.value(op.outputs[0]);
    if (value.name.find('/') != std::string::npos) {
      return InvalidArgument("parameter '" + value.name + "' has a name that no file can have");
    }
    const DType type = FileTypeOf(value.dtype);
    std::string head = HeaderOf(value);
    const auto begin = static_cast<int64_t>(head.size());
    storage.tensors.push_back(
        {value.name, storage.files.size(), begin, type, RowMajorStrides(value.shape)});
    storage.files.push_back(
        {value.name + ".npy", std::move(head), begin + NumElements(value.shape) * SizeOf(type)});
  }
  return storage;
}

StatusOr<Storage> NpyStorageIn(const std::string& folder, const Program& program) {
  TP_ASSIGN_OR_RETURN(Storage storage, NpyStorage(program));
  for (const StoredTensor& tensor : storage.tensors) {
    const StoredFile& file = storage.files[tensor.file];
    TP_RETURN_IF_ERROR(CheckFile(folder + "/" + file.name, file, tensor.parameter));
  }
  return storage;
}

}  // namespace tp
