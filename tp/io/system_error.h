// What the operating system refused, as a Status a person can act on.
#pragma once

#include <string_view>

#include "tp/core/status.h"

namespace tp::io {

// "path: what: reason of `error`", where `error` is an errno. The code is kNotFound for what is
// missing, kUnavailable for a full disk, kInternal for a failing one, else kInvalidArgument.
Status SystemError(std::string_view path, std::string_view what, int error);

}  // namespace tp::io
