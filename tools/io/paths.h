// Paths as people give them to flags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tp/core/status.h"

namespace tp::io {

// `path` as seen from where the user typed it: `bazel run` starts a program in its runfiles folder
// and leaves the user's in BUILD_WORKING_DIRECTORY. Absolute and empty paths stay as they are, and
// so do all where the variable is not set.
std::string ResolvePath(std::string_view path);

// Whether there is anything by that name.
bool Exists(const std::string& path);

// A file that a tool reads or writes, and the flag that has it do so, "--json". One without a path
// is none.
struct NamedFile {
  std::string flag;
  std::string path;
};

// To be asked before anything is written: that no output is an input or another output, of which
// one would be lost, nor a folder that has to be made for another. Files are told apart by what
// they are, however they are spelled or linked. What is written straight (tp/io/atomic_file.h) may
// be there twice. Errors: INVALID_ARGUMENT that names both flags and the file.
Status CheckDistinct(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

}  // namespace tp::io
