#include "tp/data/tokens.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "tp/io/npy.h"

namespace tp {
namespace {

constexpr int64_t kBinWidth = 2;

// An id of up to 64 bits; one beyond int64_t comes out negative, and is refused as such.
int64_t Decode(std::span<const std::byte> bytes, bool is_signed, bool big_endian) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const std::byte byte = bytes[big_endian ? i : bytes.size() - 1 - i];
    value = value << 8 | static_cast<uint64_t>(byte);
  }
  const auto unused = static_cast<int>(64 - 8 * bytes.size());
  if (is_signed) return static_cast<int64_t>(value << unused) >> unused;
  return static_cast<int64_t>(value);
}

}  // namespace

StatusOr<TokenFile> TokenFile::From(std::unique_ptr<io::ByteSource> source, int64_t vocabulary) {
  TokenFile file;
  const std::string& name = source->name();
  file.vocabulary_ = vocabulary;
  file.size_ = source->size();
  if (name.ends_with(".npy")) {
    TP_ASSIGN_OR_RETURN(const io::NpyLayout layout, io::ReadNpyIntegers(*source));
    if (layout.shape.size() != 1) {
      return InvalidArgument(fmt::format("{}: has shape {}; tokens are an array of one dimension",
                                         name, ToString(layout.shape)));
    }
    file.size_ = layout.shape[0];
    file.is_bytes_ = false;
    file.begin_ = layout.begin;
    file.width_ = layout.width;
    file.is_signed_ = layout.kind == 'i';
    file.big_endian_ = layout.big_endian;
  } else if (name.ends_with(".bin")) {
    if (source->size() % kBinWidth != 0) {
      return InvalidArgument(
          fmt::format("{}: has {} bytes, an odd number; a .bin file holds ids of {} bytes each",
                      name, source->size(), kBinWidth));
    }
    file.size_ = source->size() / kBinWidth;
    file.is_bytes_ = false;
    file.width_ = kBinWidth;
  }
  if (file.size_ == 0) return InvalidArgument(fmt::format("{}: holds no token", name));
  file.source_ = std::move(source);
  return file;
}

StatusOr<TokenFile> TokenFile::Open(const std::string& path, int64_t vocabulary) {
  TP_ASSIGN_OR_RETURN(std::unique_ptr<io::ByteSource> source, io::OpenFile(path));
  return From(std::move(source), vocabulary);
}

StatusOr<TokenFile> TokenFile::Parse(std::span<const std::byte> bytes, const std::string& name,
                                     int64_t vocabulary) {
  return From(std::make_unique<io::MemorySource>(name, bytes), vocabulary);
}

Status TokenFile::Read(int64_t begin, std::span<int32_t> ids) const {
  const auto count = static_cast<int64_t>(ids.size());
  CHECK(begin >= 0 && begin <= size_ - count) << "tokens beyond the end";
  std::vector<std::byte> bytes(count * width_);
  TP_RETURN_IF_ERROR(source_->Read(begin_ + begin * width_, bytes));
  for (int64_t i = 0; i < count; ++i) {
    const auto id = Decode(std::span(bytes).subspan(i * width_, width_), is_signed_, big_endian_);
    if (id < 0 || id >= vocabulary_) {
      return InvalidArgument(
          fmt::format("{}: token {} is {}, and the model knows ids from 0 to {}; were these made "
                      "by the model's tokenizer?",
                      source_->name(), begin + i, id, vocabulary_ - 1));
    }
    ids[i] = static_cast<int32_t>(id);
  }
  return OkStatus();
}

Status TokenFile::Check() const {
  const bool knows_all = !is_signed_ && width_ <= 4 && vocabulary_ >= int64_t{1} << (8 * width_);
  if (knows_all) return OkStatus();
  constexpr int64_t kPiece = int64_t{1} << 20;
  std::vector<int32_t> ids(static_cast<size_t>(std::min(kPiece, size_)));
  for (int64_t begin = 0; begin < size_; begin += kPiece) {
    const auto count = static_cast<size_t>(std::min(kPiece, size_ - begin));
    TP_RETURN_IF_ERROR(Read(begin, std::span(ids).first(count)));
  }
  return OkStatus();
}

}  // namespace tp
