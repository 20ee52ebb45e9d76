#include "tp/runtime/assemble.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>

namespace tp {
namespace {

int64_t GlobalColumns(const Binding& binding) {
  return binding.shape.empty() ? 1 : binding.shape.back();
}

// Whether another rank, earlier on the axis, holds the same elements.
bool IsReplica(const Binding& binding, const Mesh& mesh, int rank) {
  for (Axis axis : kAllAxes) {
    if (IsReplicate(binding.placements[axis]) && mesh.Coordinate(rank, axis) > 0) return true;
  }
  return false;
}

// The rank at coordinate 0 on every axis where the value is replicated.
int OriginalOf(const Binding& binding, const Mesh& mesh, int rank) {
  for (Axis axis : kAllAxes) {
    if (IsReplicate(binding.placements[axis])) rank = mesh.Group(rank, axis)[0];
  }
  return rank;
}

bool HasPartial(const Binding& binding) {
  for (Axis axis : kAllAxes) {
    if (IsPartial(binding.placements[axis])) return true;
  }
  return false;
}

void CopyPart(const Binding& binding, std::span<const std::byte> part, HostTensor& whole) {
  const int64_t width = SizeOf(binding.dtype);
  ForEachRun(binding, [&](int64_t to, int64_t from, int64_t count) {
    std::memcpy(whole.bytes().data() + to * width, part.data() + from * width, count * width);
  });
}

void AddPart(const Binding& binding, std::span<const std::byte> part, std::vector<double>& sum) {
  std::vector<double> values(binding.view.size());
  DecodeToDouble(binding.dtype, part, values);
  for (int64_t i = 0; i < binding.view.rows; ++i) {
    for (int64_t j = 0; j < binding.view.columns; ++j) {
      sum[(binding.row + i) * GlobalColumns(binding) + binding.column + j] +=
          values[i * binding.view.columns + j];
    }
  }
}

}  // namespace

void FillLocal(const Binding& binding, const std::function<double(int64_t)>& source,
               std::span<std::byte> buffer) {
  const View& view = binding.view;
  const int64_t width = SizeOf(binding.dtype);
  for (int64_t i = 0; i < view.rows; ++i) {
    for (int64_t j = 0; j < view.columns; ++j) {
      const double value = source((binding.row + i) * GlobalColumns(binding) + binding.column + j);
      const int64_t at = view.offset + i * view.row_stride + j * view.column_stride;
      EncodeFromDouble(binding.dtype, std::span(&value, 1), buffer.subspan(at * width, width));
    }
  }
}

std::vector<std::byte> ExtractLocal(const Binding& binding, std::span<const std::byte> buffer) {
  const View& view = binding.view;
  const int64_t width = SizeOf(binding.dtype);
  std::vector<std::byte> part(view.size() * width);
  if (view.empty()) return part;
  for (int64_t i = 0; i < view.rows; ++i) {
    const int64_t from = view.offset + i * view.row_stride;
    std::byte* to = part.data() + i * view.columns * width;
    if (view.column_stride == 1) {
      std::memcpy(to, buffer.data() + from * width, view.columns * width);
      continue;
    }
    for (int64_t j = 0; j < view.columns; ++j) {
      std::memcpy(to + j * width, buffer.data() + (from + j * view.column_stride) * width, width);
    }
  }
  return part;
}

void InsertLocal(const Binding& binding, std::span<const std::byte> part,
                 std::span<std::byte> buffer) {
  const View& view = binding.view;
  const int64_t width = SizeOf(binding.dtype);
  if (view.empty()) return;
  for (int64_t i = 0; i < view.rows; ++i) {
    const int64_t to = view.offset + i * view.row_stride;
    const std::byte* from = part.data() + i * view.columns * width;
    if (view.column_stride == 1) {
      std::memcpy(buffer.data() + to * width, from, view.columns * width);
      continue;
    }
    for (int64_t j = 0; j < view.columns; ++j) {
      std::memcpy(buffer.data() + (to + j * view.column_stride) * width, from + j * width, width);
    }
  }
}

void ForEachRun(const Binding& binding,
                const std::function<void(int64_t whole, int64_t part, int64_t count)>& use) {
  const View& view = binding.view;
  const int64_t columns = GlobalColumns(binding);
  if (view.empty()) return;
  if (view.columns == columns) return use(binding.row * columns, 0, view.size());
  for (int64_t i = 0; i < view.rows; ++i) {
    use((binding.row + i) * columns + binding.column, i * view.columns, view.columns);
  }
}

std::vector<std::byte> CutPart(const Binding& binding, const HostTensor& whole) {
  const int64_t width = SizeOf(binding.dtype);
  std::vector<std::byte> part(binding.view.size() * width);
  ForEachRun(binding, [&](int64_t from, int64_t to, int64_t count) {
    std::memcpy(part.data() + to * width, whole.bytes().data() + from * width, count * width);
  });
  return part;
}

HostTensor Assemble(const std::vector<const Binding*>& bindings,
                    const std::vector<std::span<const std::byte>>& parts, const Mesh& mesh,
                    std::vector<std::string>& defects) {
  CHECK_EQ(static_cast<int>(bindings.size()), mesh.world());
  CHECK_EQ(bindings.size(), parts.size());
  const Binding& first = *bindings[0];
  HostTensor whole(first.shape, first.dtype);
  std::vector<double> sum;
  if (HasPartial(first)) sum.resize(whole.size());
  for (int rank = 0; rank < mesh.world(); ++rank) {
    const Binding& binding = *bindings[rank];
    if (IsReplica(binding, mesh, rank)) {
      const int original = OriginalOf(binding, mesh, rank);
      if (!std::equal(parts[rank].begin(), parts[rank].end(), parts[original].begin(),
                      parts[original].end())) {
        defects.push_back(binding.name + ": rank " + std::to_string(rank) +
                          " holds other bits than rank " + std::to_string(original) +
                          ", where both should hold the same part");
      }
    } else if (HasPartial(binding)) {
      AddPart(binding, parts[rank], sum);
    } else {
      CopyPart(binding, parts[rank], whole);
    }
  }
  if (HasPartial(first)) EncodeFromDouble(first.dtype, sum, whole.bytes());
  return whole;
}

}  // namespace tp
