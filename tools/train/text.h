// The text that a model learns: the tokens of some files, one file after the other.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tp/core/status.h"
#include "tp/data/tokens.h"

namespace tp::train {

// Files that a Debian system has, whatever else is installed: the licences of package base-files.
std::vector<std::string> DefaultText();

class Text {
 public:
  // For a model that knows the ids in [0, vocabulary). Errors: those of TokenFile.
  static StatusOr<Text> Open(const std::vector<std::string>& files, int64_t vocabulary);

  // Tokens in all.
  int64_t size() const { return size_; }
  // How many of them, the first ones, are learned; the last tenth is held out.
  int64_t learned() const { return size_ - size_ / 10; }

  // Whether tokens are bytes: no file is of ids.
  bool is_bytes() const { return is_bytes_; }

  // Whether the token at `position` is the first of its file.
  bool BeginsFile(int64_t position) const;

  // The tokens from `begin` on. Errors: those of TokenFile::Read.
  Status Read(int64_t begin, std::span<int32_t> ids) const;

  // Whether the model knows all tokens: to be asked before long work. Errors: those of Read.
  Status Check() const;

 private:
  std::vector<TokenFile> files_;
  std::vector<int64_t> begins_;  // of each
  int64_t size_ = 0;
  bool is_bytes_ = true;
};

}  // namespace tp::train
