// TokenFile: the ids of a text's tokens in a file, of which any stretch is read without the rest.
//
// The name says what the file is:
//   NAME.npy   an array of integers in one dimension, of 8 to 64 bits
//   NAME.bin   nanoGPT's: ids of 16 bits, unsigned, little-endian, and nothing else
//   any other  text: a byte is a token, 256 make the vocabulary
//
// What is read is asked of the file then, by its offset; the system keeps what is read often. Every
// id is checked against the vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "tp/core/status.h"
#include "tp/io/byte_source.h"

namespace tp {

class TokenFile {
 public:
  // For a model that knows the ids in [0, vocabulary). Errors: what the system says of the file;
  // INVALID_ARGUMENT for one that is not what its name says, or empty.
  static StatusOr<TokenFile> Open(const std::string& path, int64_t vocabulary);
  // The same from bytes that outlive it; errors call them `name`, which says what they are.
  static StatusOr<TokenFile> Parse(std::span<const std::byte> bytes, const std::string& name,
                                   int64_t vocabulary);

  // Tokens in all.
  int64_t size() const { return size_; }

  // Whether it is text, and a token a byte.
  bool is_bytes() const { return is_bytes_; }

  // The tokens from `begin` on, which are in the file. Errors: INVALID_ARGUMENT that names an id
  // outside the vocabulary, and where it is; what the system says of the file.
  Status Read(int64_t begin, std::span<int32_t> ids) const;

  // Whether all tokens can be read. Takes a pass over the file, unless its type holds no id outside
  // the vocabulary. Errors: those of Read.
  Status Check() const;

 private:
  static StatusOr<TokenFile> From(std::unique_ptr<io::ByteSource> source, int64_t vocabulary);

  std::unique_ptr<io::ByteSource> source_;
  int64_t vocabulary_ = 0;
  int64_t size_ = 0;
  bool is_bytes_ = true;
  // Of what lies in the file.
  int64_t begin_ = 0;  // its first byte
  int64_t width_ = 1;  // bytes of an id
  bool is_signed_ = false;
  bool big_endian_ = false;
};

}  // namespace tp
