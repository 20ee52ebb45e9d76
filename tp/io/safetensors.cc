#include "tp/io/safetensors.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "tp/core/dtype.h"
#include "tp/io/byte_source.h"
#include "tp/io/json.h"
#include "tp/io/tensor_checks.h"

namespace tp::io {
namespace {

using Entries = std::vector<SafetensorsEntry>;

constexpr int64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr int kMaxDepth = 2;                       // of {"name": {"shape": [...]}}
constexpr std::string_view kMetadata = "__metadata__";

constexpr std::pair<std::string_view, int64_t> kWidths[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
    {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
    {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8},
};
constexpr std::pair<std::string_view, DType> kDTypes[] = {{"F64", DType::kFloat64},
                                                          {"F32", DType::kFloat32},
                                                          {"BF16", DType::kBFloat16},
                                                          {"F16", DType::kFloat16},
                                                          {"I32", DType::kInt32}};

template <typename Value, size_t kSize>
std::optional<Value> Find(const std::pair<std::string_view, Value> (&table)[kSize],
                          std::string_view name) {
  const auto* found = std::ranges::find(table, name, &std::pair<std::string_view, Value>::first);
  if (found == std::end(table)) return std::nullopt;
  return found->second;
}

// A list of sizes or offsets; none where it holds anything but whole numbers up to 2^63 - 1.
std::optional<std::vector<int64_t>> WholeNumbers(const Json& list) {
  if (!list.is_array()) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const Json& item : list) {
    const auto* number = item.get_ptr<const Json::number_unsigned_t*>();
    if (number == nullptr || *number > uint64_t{std::numeric_limits<int64_t>::max()}) {
      return std::nullopt;
    }
    numbers.push_back(static_cast<int64_t>(*number));
  }
  return numbers;
}

// Checks what one tensor's entry says by itself.
StatusOr<SafetensorsEntry> ParseEntry(const std::string& name, const Json& json,
                                      int64_t data_size) {
  const auto error = [&](std::string_view what) {
    return InvalidArgument(fmt::format("tensor {} {}", Quote(name), what));
  };
  if (!json.is_object()) return error("is not described by a JSON object");
  for (const auto& [key, value] : json.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      return error(fmt::format("has an unknown key {}", Quote(key)));
    }
  }
  if (json.size() != 3) return error("needs dtype, shape and data_offsets");

  const auto* dtype = json.find("dtype")->get_ptr<const std::string*>();
  if (dtype == nullptr) return error("has a dtype that is no string");
  std::optional<Shape> shape = WholeNumbers(*json.find("shape"));
  if (!shape.has_value()) return error("has a shape that is no list of sizes");
  const auto offsets = WholeNumbers(*json.find("data_offsets"));
  if (!offsets.has_value() || offsets->size() != 2) {
    return error("has data_offsets that are no pair of whole numbers");
  }
  const int64_t begin = (*offsets)[0];
  const int64_t end = (*offsets)[1];
  if (begin > end) return error(fmt::format("ends at byte {}, before its begin {}", end, begin));
  if (end > data_size) {
    return error(fmt::format(
        "ends at byte {} of the data, which have only {}; is the file truncated?", end, data_size));
  }
  // The bytes of types that are not known here are the file's own affair.
  if (const std::optional<int64_t> width = Find(kWidths, *dtype); width.has_value()) {
    const std::optional<int64_t> bytes = ByteSize(*shape, *width);
    if (!bytes.has_value()) return error("has a shape larger than can exist");
    if (*bytes != end - begin) {
      return error(fmt::format("of shape {} and dtype {} takes {} bytes, but its offsets span {}",
                               ToString(*shape), *dtype, *bytes, end - begin));
    }
  }
  return SafetensorsEntry{name, *dtype, *std::move(shape), begin, end};
}

// Every byte of the data must belong to one tensor. Entries are sorted by their bytes.
Status CheckCoverage(const Entries& entries, int64_t data_size) {
  int64_t covered = 0;
  const SafetensorsEntry* previous = nullptr;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin < covered) {
      return InvalidArgument(
          fmt::format("tensors {} and {} overlap", Quote(previous->name), Quote(entry.name)));
    }
    if (entry.begin > covered) break;
    covered = entry.end;
    previous = &entry;
  }
  if (covered == data_size) return OkStatus();
  return InvalidArgument(fmt::format(
      "from byte {} of the data on there is a hole that belongs to no tensor", covered));
}

StatusOr<std::string> ReadHeaderText(const ByteSource& source) {
  if (source.size() < kLengthBytes) {
    return InvalidArgument(
        fmt::format("is truncated: {} bytes are too few for a .safetensors file", source.size()));
  }
  std::array<uint8_t, kLengthBytes> bytes;
  TP_RETURN_IF_ERROR(source.Read(0, std::as_writable_bytes(std::span(bytes))));
  uint64_t length = 0;
  for (int i = 0; i < kLengthBytes; ++i) length |= uint64_t{bytes[i]} << (8 * i);
  if (length > static_cast<uint64_t>(source.size() - kLengthBytes)) {
    return InvalidArgument(
        fmt::format("is truncated or no .safetensors file: it promises a header of {} bytes and "
                    "has {} in all",
                    length, source.size()));
  }
  if (length > kMaxHeaderBytes) {
    return InvalidArgument(
        fmt::format("has a header of {} bytes; at most {} are allowed", length, kMaxHeaderBytes));
  }
  std::string text(length, '\0');
  TP_RETURN_IF_ERROR(source.Read(kLengthBytes, std::as_writable_bytes(std::span(text))));
  if (!text.starts_with('{')) return InvalidArgument("the header does not begin with '{'");
  return text;
}

StatusOr<SafetensorsHeader> ReadHeader(const ByteSource& source) {
  TP_ASSIGN_OR_RETURN(const std::string text, ReadHeaderText(source));
  TP_ASSIGN_OR_RETURN(const Json root, ParseJson(text, "the header", kMaxDepth));
  SafetensorsHeader header;
  header.data_begin = kLengthBytes + static_cast<int64_t>(text.size());
  const int64_t data_size = source.size() - header.data_begin;
  for (const auto& [name, value] : root.items()) {
    if (name == kMetadata) {
      if (!value.is_object()) return InvalidArgument("__metadata__ is not a JSON object");
      continue;
    }
    TP_ASSIGN_OR_RETURN(SafetensorsEntry entry, ParseEntry(name, value, data_size));
    header.entries.push_back(std::move(entry));
  }
  header.file_bytes = source.size();
  std::ranges::sort(header.entries, {}, [](const SafetensorsEntry& entry) {
    return std::tie(entry.begin, entry.end, entry.name);
  });
  TP_RETURN_IF_ERROR(CheckCoverage(header.entries, data_size));
  return header;
}

Status NoSuchTensor(std::string_view name, const Entries& entries) {
  constexpr size_t kMaxNames = 8;
  std::string names;
  for (size_t i = 0; i < std::min(entries.size(), kMaxNames); ++i) {
    names += (i == 0 ? "" : ", ") + Quote(entries[i].name);
  }
  if (entries.size() > kMaxNames) names += fmt::format(", ... ({} in all)", entries.size());
  return NotFound(
      fmt::format("has no tensor {}; it has {}", Quote(name), entries.empty() ? "none" : names));
}

StatusOr<HostTensor> ReadFrom(const ByteSource& source, std::string_view name,
                              const std::optional<Shape>& expected) {
  const StatusOr<SafetensorsHeader> header = ReadHeader(source);
  if (!header.ok()) return header.status().WithContext(source.name());
  const auto entry = std::ranges::find(header->entries, name, &SafetensorsEntry::name);
  if (entry == header->entries.end()) {
    return NoSuchTensor(name, header->entries).WithContext(source.name());
  }
  const std::string what = fmt::format("{}: tensor {}", source.name(), Quote(name));
  const std::optional<DType> dtype = Find(kDTypes, entry->dtype);
  if (!dtype.has_value() || *dtype == DType::kInt32) {
    return InvalidArgument(fmt::format("{}: has dtype {}; accepted are F64, F32, BF16 and F16",
                                       what, Quote(entry->dtype)));
  }
  TP_RETURN_IF_ERROR(CheckShape(what, entry->shape, expected));
  if (entry->shape.size() > kMaxDims) {
    return InvalidArgument(fmt::format("{}: has more than {} dimensions", what, kMaxDims));
  }
  TP_ASSIGN_OR_RETURN(HostTensor tensor, Allocate(what, entry->shape, *dtype));
  TP_RETURN_IF_ERROR(source.Read(header->data_begin + entry->begin, tensor.bytes()));
  return tensor;
}

StatusOr<SafetensorsHeader> HeaderOf(const ByteSource& source) {
  StatusOr<SafetensorsHeader> header = ReadHeader(source);
  if (!header.ok()) return header.status().WithContext(source.name());
  return header;
}

}  // namespace

StatusOr<Entries> ListSafetensors(const std::string& path) {
  TP_ASSIGN_OR_RETURN(SafetensorsHeader header, ReadSafetensorsHeader(path));
  return std::move(header.entries);
}

StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const std::string& path) {
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> file, OpenFile(path));
  return HeaderOf(*file);
}

StatusOr<HostTensor> ReadSafetensors(const std::string& path, std::string_view name,
                                     const std::optional<Shape>& expected_shape) {
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> file, OpenFile(path));
  return ReadFrom(*file, name, expected_shape);
}

StatusOr<Entries> ParseSafetensorsList(std::span<const std::byte> bytes, const std::string& file) {
  TP_ASSIGN_OR_RETURN(SafetensorsHeader header, HeaderOf(MemorySource(file, bytes)));
  return std::move(header.entries);
}

StatusOr<HostTensor> ParseSafetensors(std::span<const std::byte> bytes, const std::string& file,
                                      std::string_view name) {
  return ReadFrom(MemorySource(file, bytes), name, std::nullopt);
}

std::optional<DType> SafetensorsDType(std::string_view dtype) { return Find(kDTypes, dtype); }

std::string_view SafetensorsName(DType dtype) {
  const auto* found =
      std::ranges::find(kDTypes, dtype, &std::pair<std::string_view, DType>::second);
  CHECK(found != std::end(kDTypes));
  return found->first;
}

std::string EncodeSafetensorsHead(std::vector<SafetensorsEntry>& entries) {
  nlohmann::ordered_json root;
  root[std::string(kMetadata)]["format"] = "pt";
  int64_t at = 0;
  for (SafetensorsEntry& entry : entries) {
    const std::optional<int64_t> width = Find(kWidths, entry.dtype);
    CHECK(width.has_value()) << entry.dtype;
    entry.begin = at;
    at += NumElements(entry.shape) * *width;
    entry.end = at;
    root[entry.name] = {
        {"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text = root.dump();
  text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
  std::string head;
  for (int i = 0; i < kLengthBytes; ++i) head += static_cast<char>(text.size() >> (8 * i));
  return head + text;
}

StatusOr<TensorPath> SplitTensorPath(std::string_view text) {
  constexpr std::string_view kSuffix = ".safetensors";
  const size_t at = text.find(std::string(kSuffix) + ':');
  const std::string_view file = at == text.npos ? text : text.substr(0, at + kSuffix.size());
  const std::string_view name = at == text.npos ? "" : text.substr(file.size() + 1);
  if (name.empty() && file.ends_with(kSuffix)) {
    return InvalidArgument(
        fmt::format("{}: which of its tensors? Write FILE.safetensors:NAME", file));
  }
  return TensorPath{std::string(file), std::string(name)};
}

}  // namespace tp::io
