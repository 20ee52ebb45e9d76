#include "tp/runtime/storage.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace tp {
namespace {

// One past the last byte of the whole tensor, or -1 where no file can be so long.
int64_t EndOf(const StoredTensor& tensor, const Shape& shape) {
  int64_t last = 0;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0) return tensor.begin;
    int64_t step = 0;
    if (__builtin_mul_overflow(shape[d] - 1, tensor.strides[d], &step) ||
        __builtin_add_overflow(last, step, &last)) {
      return -1;
    }
  }
  int64_t end = 0;
  const bool too_long = __builtin_add_overflow(last, 1, &end) ||
                        __builtin_mul_overflow(end, SizeOf(tensor.dtype), &end) ||
                        __builtin_add_overflow(end, tensor.begin, &end);
  return too_long ? -1 : end;
}

Status CheckTensor(const StoredTensor& tensor, const Storage& storage, const Program& program) {
  const auto error = [&](const std::string& what) {
    return InvalidArgument("parameter '" + tensor.parameter + "' " + what);
  };
  TP_ASSIGN_OR_RETURN(const ValueId id, program.Find(tensor.parameter));
  const Value& value = program.value(id);
  if (!program.ops()[program.DefinitionOf(id)].Is(kParameter)) return error("is none");
  if (tensor.file >= storage.files.size()) return error("is said to lie in no file");
  if (tensor.strides.size() != value.shape.size()) {
    return error("has " + std::to_string(value.shape.size()) + " dimensions and " +
                 std::to_string(tensor.strides.size()) + " strides");
  }
  for (int64_t stride : tensor.strides) {
    if (stride < 1) return error("has a stride of " + std::to_string(stride));
  }
  const StoredFile& file = storage.files[tensor.file];
  const int64_t end = EndOf(tensor, value.shape);
  if (tensor.begin < static_cast<int64_t>(file.head.size()) || end < 0 || end > file.bytes) {
    return error("does not lie in the " + std::to_string(file.bytes) + " bytes of " + file.name);
  }
  return OkStatus();
}

}  // namespace

std::vector<int64_t> RowMajorStrides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;)
    strides[d - 1] = strides[d] * std::max<int64_t>(shape[d], 1);
  return strides;
}

Status CheckStorage(const Storage& storage, const Program& program, bool all) {
  std::set<std::string> known;
  for (const StoredTensor& tensor : storage.tensors) {
    TP_RETURN_IF_ERROR(CheckTensor(tensor, storage, program));
    if (!known.insert(tensor.parameter).second) {
      return InvalidArgument("parameter '" + tensor.parameter + "' has two places");
    }
  }
  for (const Op& op : program.ops()) {
    if (!all || !op.Is(kParameter)) continue;
    const std::string& name = program.value(op.outputs[0]).name;
    if (known.count(name) == 0) return InvalidArgument("parameter '" + name + "' has no place");
  }
  return OkStatus();
}

void ForEachBlock(const Binding& binding, const StoredTensor& tensor,
                  const std::function<void(const StoredBlock&)>& use) {
  if (binding.view.empty()) return;
  const Shape sizes = SizesOf(binding.view);
  const std::vector<int64_t> in_part = RowMajorStrides(sizes);
  std::vector<int> dims(sizes.size());  // the one that runs slowest in the file first
  std::iota(dims.begin(), dims.end(), 0);
  std::erase_if(dims, [&](int d) { return sizes[d] == 1; });
  std::stable_sort(dims.begin(), dims.end(),
                   [&](int a, int b) { return tensor.strides[a] > tensor.strides[b]; });
  int64_t count = 1;  // of elements in one piece
  size_t outer = dims.size();
  while (outer > 0 && tensor.strides[dims[outer - 1]] == count) count *= sizes[dims[--outer]];

  View firsts;  // of the blocks, in the file
  View places;  // of a block, in the part
  for (size_t d = 0; d < sizes.size(); ++d) firsts.offset += binding.origin[d] * tensor.strides[d];
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t size = sizes[dims[i]];
    if (i < outer) {
      firsts.dims.push_back({size, tensor.strides[dims[i]]});
    } else {
      places.dims.push_back({size, in_part[dims[i]]});
    }
  }
  ForEachElement(firsts, [&](const Index& index, int64_t element) {
    places.offset = 0;
    for (size_t i = 0; i < outer; ++i) places.offset += index[i] * in_part[dims[i]];
    use({tensor.begin + element * SizeOf(tensor.dtype), places});
  });
}

}  // namespace tp
