#include "tp/io/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "tp/core/dtype.h"
#include "tp/io/atomic_file.h"
#include "tp/io/byte_source.h"
#include "tp/io/tensor_checks.h"

namespace tp::io {
namespace {

static_assert(std::endian::native == std::endian::little, "'=' is read as little-endian");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr int64_t kPreludeBytes = 8;  // the magic and two bytes of version
// Version 1.0's own limit; numpy.load stops at 10,000. A header of floats has about 118.
constexpr uint32_t kMaxHeaderBytes = 65535;
constexpr int64_t kAlignment = 64;  // of the data, when writing

// What is accepted where floats are needed, and where integers are.
struct Kinds {
  std::string_view letters;
  std::string_view widths;
  std::string_view names;
};
constexpr Kinds kFloats = {"f", "48", "float32 (\"<f4\", \">f4\") and float64 (\"<f8\", \">f8\")"};
constexpr Kinds kIntegers = {"iu", "1248", "integers of 8 to 64 bits, as \"<u2\" or \"<i4\""};

// The header is a Python dict literal; this reads the little of Python that numpy.save writes.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const Kinds& kinds) : text_(text), kinds_(kinds) {}

  StatusOr<NpyLayout> Parse() {
    if (!Consume('{')) return Error("is not a Python dict");
    while (!Consume('}')) {
      TP_ASSIGN_OR_RETURN(const std::string_view key, ParseString());
      if (!Consume(':')) return Error(fmt::format("has no ':' after {}", Quote(key)));
      TP_RETURN_IF_ERROR(ParseValue(key));
      if (Consume(',')) continue;
      if (!Consume('}')) return Error("is not a Python dict: ',' or '}' is missing");
      break;
    }
    SkipSpace();
    if (at_ != text_.size()) return Error("goes on after the dict's '}'");
    if (!has_descr_) return Error("has no 'descr'");
    if (!has_order_) return Error("has no 'fortran_order'");
    if (!has_shape_) return Error("has no 'shape'");
    return std::move(header_);
  }

 private:
  static Status Error(std::string_view what) {
    return InvalidArgument(fmt::format("the header {}", what));
  }

  void SkipSpace() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != text_.npos) ++at_;
  }

  bool Consume(char symbol) {
    SkipSpace();
    if (at_ == text_.size() || text_[at_] != symbol) return false;
    ++at_;
    return true;
  }

  bool ConsumeWord(std::string_view word) {
    SkipSpace();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  StatusOr<std::string_view> ParseString() {
    SkipSpace();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') return Error("is not a Python dict: a key is no string");
    const size_t end = text_.find(quote, at_ + 1);
    if (end == text_.npos) return Error("has a string without end");
    const std::string_view value = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return value;
  }

  Status ParseValue(std::string_view key) {
    bool* seen = key == "descr"           ? &has_descr_
                 : key == "fortran_order" ? &has_order_
                 : key == "shape"         ? &has_shape_
                                          : nullptr;
    if (seen == nullptr) return Error(fmt::format("has an unknown key {}", Quote(key)));
    if (std::exchange(*seen, true)) return Error(fmt::format("has {} twice", Quote(key)));
    if (seen == &has_descr_) return ParseDescr();
    if (seen == &has_shape_) return ParseShape();
    if (ConsumeWord("True")) {
      header_.fortran_order = true;
    } else if (!ConsumeWord("False")) {
      return Error("has a 'fortran_order' that is neither True nor False");
    }
    return OkStatus();
  }

  Status ParseDescr() {
    SkipSpace();
    if (at_ < text_.size() && text_[at_] == '[') {
      return InvalidArgument(fmt::format("has a structured dtype; accepted are {}", kinds_.names));
    }
    TP_ASSIGN_OR_RETURN(const std::string_view descr, ParseString());
    std::string_view type = descr;
    if (!type.empty() && std::string_view("<>=|").find(type[0]) != type.npos) type.remove_prefix(1);
    if (type.size() != 2 || kinds_.letters.find(type[0]) == type.npos ||
        kinds_.widths.find(type[1]) == type.npos) {
      return InvalidArgument(
          fmt::format("has dtype {}; accepted are {}", Quote(descr), kinds_.names));
    }
    header_.kind = type[0];
    header_.width = type[1] - '0';
    header_.big_endian = descr[0] == '>';
    return OkStatus();
  }

  Status ParseShape() {
    constexpr std::string_view kNotATuple = "has a 'shape' that is not a tuple of whole numbers";
    if (!Consume('(')) return Error(kNotATuple);
    bool comma = true;
    while (!Consume(')')) {
      if (!comma) return Error(kNotATuple);
      if (header_.shape.size() == kMaxDims) {
        return InvalidArgument(fmt::format("has more than {} dimensions", kMaxDims));
      }
      SkipSpace();
      const char* begin = text_.data() + at_;
      int64_t size = 0;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), size);
      if (error == std::errc::invalid_argument) return Error(kNotATuple);
      if (error != std::errc() || size < 0) {
        return Error(fmt::format("has an impossible dimension {}",
                                 Quote(std::string_view(begin, end - begin))));
      }
      at_ += static_cast<size_t>(end - begin);
      ConsumeWord("L");  // as Python 2 wrote long integers
      header_.shape.push_back(size);
      comma = Consume(',');
    }
    // "(3)" is a number in Python; the tuple is "(3,)".
    if (header_.shape.size() == 1 && !comma) return Error(kNotATuple);
    return OkStatus();
  }

  std::string_view text_;
  const Kinds& kinds_;
  size_t at_ = 0;
  NpyLayout header_;
  bool has_descr_ = false;
  bool has_order_ = false;
  bool has_shape_ = false;
};

// The header's text and where the data begin.
StatusOr<std::pair<std::string, int64_t>> ReadHeaderText(const ByteSource& source) {
  std::array<unsigned char, kPreludeBytes + 4> start = {};
  const int64_t available = std::min<int64_t>(source.size(), start.size());
  TP_RETURN_IF_ERROR(source.Read(0, std::as_writable_bytes(std::span(start)).first(available)));
  const std::string_view magic(reinterpret_cast<const char*>(start.data()), kMagic.size());
  if (available == 0) return InvalidArgument("the file is empty");
  if (magic.starts_with("PK")) {
    return InvalidArgument("is a zip archive, as .npz is; save each array with numpy.save instead");
  }
  if (available >= static_cast<int64_t>(kMagic.size()) && magic != kMagic) {
    return InvalidArgument("is not a NumPy file: it does not begin with \"\\x93NUMPY\"");
  }
  const int major = start[6];
  const int minor = start[7];
  if (available >= kPreludeBytes && (major < 1 || major > 3 || minor != 0)) {
    return InvalidArgument(
        fmt::format("has format version {}.{}; 1.0, 2.0 and 3.0 are read", major, minor));
  }
  const int length_bytes = major == 1 ? 2 : 4;
  const int64_t begin = kPreludeBytes + length_bytes;
  if (available < begin) {
    return InvalidArgument(
        fmt::format("is truncated: {} bytes are too few for a .npy file", source.size()));
  }
  uint32_t length = 0;
  for (int i = 0; i < length_bytes; ++i) length |= uint32_t{start[kPreludeBytes + i]} << (8 * i);
  if (length > source.size() - begin) {
    return InvalidArgument(fmt::format("is truncated: its header has {} bytes, the file {} in all",
                                       length, source.size()));
  }
  if (length > kMaxHeaderBytes) {
    return InvalidArgument(
        fmt::format("has a header of {} bytes; at most {} are read", length, kMaxHeaderBytes));
  }
  std::string text(length, '\0');
  TP_RETURN_IF_ERROR(source.Read(begin, std::as_writable_bytes(std::span(text))));
  return std::pair(std::move(text), begin + length);
}

void ReverseBytesOfEach(int64_t width, std::span<std::byte> bytes) {
  for (size_t at = 0; at < bytes.size(); at += width) {
    std::ranges::reverse(bytes.subspan(at, width));
  }
}

// Copies elements of `width` bytes from Fortran order (first index fastest) to C order.
void FortranToC(const Shape& shape, int64_t width, std::span<const std::byte> from,
                std::span<std::byte> to) {
  Shape strides;
  for (int64_t stride = width; int64_t size : shape) {
    strides.push_back(stride);
    stride *= size;
  }
  Shape index(shape.size(), 0);
  int64_t offset = 0;
  for (size_t at = 0; at < to.size(); at += width) {
    std::memcpy(&to[at], &from[offset], width);
    for (size_t dim = shape.size(); dim-- > 0;) {
      offset += strides[dim];
      if (++index[dim] < shape[dim]) break;
      offset -= strides[dim] * shape[dim];
      index[dim] = 0;
    }
  }
}

DType DTypeOf(const NpyLayout& floats) {
  return floats.width == 8 ? DType::kFloat64 : DType::kFloat32;
}

std::string TypeName(const NpyLayout& layout) {
  if (layout.kind == 'f') return std::string(Name(DTypeOf(layout)));
  return fmt::format("{}int{}", layout.kind == 'u' ? "u" : "", 8 * layout.width);
}

// What the file is, with sizes that its bytes bear out.
StatusOr<NpyLayout> ReadLayout(const ByteSource& source, const Kinds& kinds,
                               const std::optional<Shape>& expected) {
  const std::string& name = source.name();
  auto text = ReadHeaderText(source);
  if (!text.ok()) return text.status().WithContext(name);
  StatusOr<NpyLayout> header = HeaderParser(text->first, kinds).Parse();
  if (!header.ok()) return header.status().WithContext(name);
  const Shape& shape = header->shape;
  TP_RETURN_IF_ERROR(CheckShape(name, shape, expected));

  const std::optional<int64_t> promised = ByteSize(shape, header->width);
  if (!promised.has_value()) {
    return InvalidArgument(fmt::format("{}: the header promises shape {}, more than can exist",
                                       name, ToString(shape)));
  }
  const int64_t available = source.size() - text->second;
  if (available != *promised) {
    return InvalidArgument(
        fmt::format("{}: {}: shape {} of {} takes {} bytes, but {} follow the header", name,
                    available < *promised ? "is truncated" : "has trailing bytes", ToString(shape),
                    TypeName(*header), *promised, available));
  }
  header->begin = text->second;
  return header;
}

StatusOr<HostTensor> ReadFrom(const ByteSource& source, const std::optional<Shape>& expected) {
  TP_ASSIGN_OR_RETURN(const NpyLayout header, ReadLayout(source, kFloats, expected));
  const Shape& shape = header.shape;
  const int64_t width = header.width;
  TP_ASSIGN_OR_RETURN(HostTensor tensor, Allocate(source.name(), shape, DTypeOf(header)));
  TP_RETURN_IF_ERROR(source.Read(header.begin, tensor.bytes()));
  if (header.big_endian) ReverseBytesOfEach(width, tensor.bytes());
  if (!header.fortran_order || shape.size() < 2) return tensor;
  TP_ASSIGN_OR_RETURN(HostTensor ordered, Allocate(source.name(), shape, DTypeOf(header)));
  FortranToC(shape, width, tensor.bytes(), ordered.bytes());
  return ordered;
}

}  // namespace

StatusOr<HostTensor> ReadNpy(const std::string& path, const std::optional<Shape>& expected_shape) {
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> file, OpenFile(path));
  return ReadFrom(*file, expected_shape);
}

StatusOr<Shape> ReadNpyShape(const std::string& path) {
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> file, OpenFile(path));
  TP_ASSIGN_OR_RETURN(NpyLayout layout, ReadLayout(*file, kFloats, std::nullopt));
  return std::move(layout.shape);
}

StatusOr<NpyLayout> ReadNpyIntegers(const ByteSource& source) {
  return ReadLayout(source, kIntegers, std::nullopt);
}

StatusOr<HostTensor> ParseNpy(std::span<const std::byte> bytes, const std::string& name) {
  return ReadFrom(MemorySource(name, bytes), std::nullopt);
}

std::string EncodeNpy(const HostTensor& tensor) {
  if (SizeOf(tensor.dtype()) < SizeOf(DType::kFloat32)) {
    HostTensor widened(tensor.shape(), DType::kFloat32);
    EncodeFromDouble(DType::kFloat32, tensor.ToDoubles(), widened.bytes());
    return EncodeNpy(widened);
  }
  std::string header = fmt::format("{{'descr': '<f{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                   SizeOf(tensor.dtype()), fmt::join(tensor.shape(), ", "),
                                   tensor.shape().size() == 1 ? "," : "");
  const int64_t begin = kPreludeBytes + 2;
  const int64_t unpadded = begin + static_cast<int64_t>(header.size()) + 1;
  header.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  header += '\n';
  CHECK_LE(header.size(), kMaxHeaderBytes) << "too many dimensions for a .npy file";

  std::string file(kMagic);
  file.reserve(begin + header.size() + tensor.bytes().size());
  file += {'\x01', '\x00', static_cast<char>(header.size() & 0xff),
           static_cast<char>(header.size() >> 8)};
  file += header;
  file.append(reinterpret_cast<const char*>(tensor.bytes().data()), tensor.bytes().size());
  return file;
}

Status WriteNpy(const std::string& path, const HostTensor& tensor) {
  return WriteFileAtomically(path, EncodeNpy(tensor));
}

}  // namespace tp::io
