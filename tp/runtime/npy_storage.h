// A .npy file for each parameter, as NumPy and `bench --load` read it: what a session's parameters
// are saved as where nobody says otherwise.
//
// A file holds the whole tensor, row-major and little-endian: fp64 as float64, every other type as
// float32, which is exact.
#pragma once

#include <string>

#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/runtime/storage.h"

namespace tp {

// Errors: INVALID_ARGUMENT where a parameter's name is none for a file.
StatusOr<Storage> NpyStorage(const Program& program);

// The same, of the files in `folder`. Errors: NOT_FOUND for one that is missing, INVALID_ARGUMENT
// for one that is another tensor or is cut off.
StatusOr<Storage> NpyStorageIn(const std::string& folder, const Program& program);

}  // namespace tp
