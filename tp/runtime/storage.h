// Storage: where the parameters of a program lie in the files of a folder.
//
// The engine moves elements between ranks and files and knows no file format: what a file holds
// beside elements are bytes that whoever made the storage put before them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tp/core/dtype.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/schedule/schedule.h"

namespace tp {

struct StoredFile {
  std::string name;   // in the folder
  std::string head;   // its first bytes, when it is written
  int64_t bytes = 0;  // in all
};

// The elements of a parameter. That at index i of the global tensor begins at byte
// begin + SizeOf(dtype) * (the sum over d of i[d] * strides[d]) of its file.
struct StoredTensor {
  std::string parameter;
  size_t file = 0;  // of the storage's
  int64_t begin = 0;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> strides;
};

struct Storage {
  std::vector<StoredFile> files;
  std::vector<StoredTensor> tensors;
};

// The strides of a tensor that is stored row-major.
std::vector<int64_t> RowMajorStrides(const Shape& shape);

// Whether every tensor is a parameter of `program`, comes once, and lies in its file; and, where
// `all`, whether every parameter has a place. Errors: INVALID_ARGUMENT that names it.
Status CheckStorage(const Storage& storage, const Program& program, bool all);

// Some elements of a rank's part of a tensor, in one piece in its file: the first byte; and where
// they lie in the part, row-major and packed: its elements in the order of the file.
struct StoredBlock {
  int64_t begin = 0;
  View places;
};

// Calls `use` for the blocks of the part that `binding` is, which together are all of it.
void ForEachBlock(const Binding& binding, const StoredTensor& tensor,
                  const std::function<void(const StoredBlock&)>& use);

}  // namespace tp
