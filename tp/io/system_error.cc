#include "tp/io/system_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace tp::io {

Status SystemError(std::string_view path, std::string_view what, int error) {
  std::string message =
      fmt::format("{}: {}: {}", path, what, std::generic_category().message(error));
  switch (error) {
    case ENOENT:
      return NotFound(std::move(message));
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Unavailable(std::move(message) + "; free some space or choose another place");
    case EIO:
      return Internal(std::move(message));
    default:
      return InvalidArgument(std::move(message));
  }
}

}  // namespace tp::io
