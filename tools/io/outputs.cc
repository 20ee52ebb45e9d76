#include "tools/io/outputs.h"

#include <unistd.h>

#include <cerrno>

#include "tp/io/system_error.h"

namespace tp::io {

void Outputs::Print(std::string_view text) {
  const std::lock_guard lock(mutex_);
  while (open_ && !text.empty()) {
    const ssize_t written = write(descriptor_, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      open_ = false;
      if (errno != EPIPE) {
        errors_.push_back(SystemError("the standard output", "cannot be written", errno));
      }
    }
  }
}

bool Outputs::Account(const Status& status) {
  if (status.ok()) return true;
  const std::lock_guard lock(mutex_);
  errors_.push_back(status);
  return false;
}

std::vector<Status> Outputs::errors() const {
  const std::lock_guard lock(mutex_);
  return errors_;
}

}  // namespace tp::io
