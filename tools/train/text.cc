#include "tools/train/text.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace tp::train {

std::vector<std::string> DefaultText() {
  std::vector<std::string> files;
  for (const char* name :
       {"Apache-2.0", "Artistic", "BSD", "CC0-1.0", "GFDL-1.2", "GFDL-1.3", "GPL-1", "GPL-2",
        "GPL-3", "LGPL-2", "LGPL-2.1", "LGPL-3", "MPL-1.1", "MPL-2.0"}) {
    files.push_back(std::string("/usr/share/common-licenses/") + name);
  }
  return files;
}

StatusOr<Text> Text::Open(const std::vector<std::string>& files, int64_t vocabulary) {
  Text text;
  for (const std::string& path : files) {
    TP_ASSIGN_OR_RETURN(TokenFile file, TokenFile::Open(path, vocabulary));
    text.begins_.push_back(text.size_);
    text.size_ += file.size();
    text.is_bytes_ &= file.is_bytes();
    text.files_.push_back(std::move(file));
  }
  return text;
}

bool Text::BeginsFile(int64_t position) const {
  return std::binary_search(begins_.begin(), begins_.end(), position);
}

Status Text::Read(int64_t begin, std::span<int32_t> ids) const {
  for (const TokenFile& file : files_) {
    if (begin < file.size() && !ids.empty()) {
      const auto count = std::min(static_cast<size_t>(file.size() - begin), ids.size());
      TP_RETURN_IF_ERROR(file.Read(begin, ids.first(count)));
      ids = ids.subspan(count);
      begin += static_cast<int64_t>(count);
    }
    begin -= file.size();
  }
  return OkStatus();
}

Status Text::Check() const {
  for (const TokenFile& file : files_) TP_RETURN_IF_ERROR(file.Check());
  return OkStatus();
}

}  // namespace tp::train
