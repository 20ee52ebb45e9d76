// Paths as people give them to flags.
#pragma once

#include <string>
#include <string_view>

namespace tp::io {

// `path` as seen from where the user typed it: `bazel run` starts a program in its runfiles folder
// and leaves the user's in BUILD_WORKING_DIRECTORY. Absolute and empty paths stay as they are, and
// so do all where the variable is not set.
std::string ResolvePath(std::string_view path);

// Whether there is anything by that name.
bool Exists(const std::string& path);

}  // namespace tp::io
