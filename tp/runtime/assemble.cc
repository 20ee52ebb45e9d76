#include "tp/runtime/assemble.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <thread>

#include "tp/core/numbers.h"

namespace tp {
namespace {

// The first elements of the lines of a part: the same view with one element in its last dimension.
View FirstsOf(View view) {
  if (view.rank() > 0) view.dims[view.rank() - 1].size = std::min<int64_t>(view.columns(), 1);
  return view;
}

// Whether another rank, earlier on the axis, holds the same elements.
bool IsReplica(const Binding& binding, const Mesh& mesh, int rank) {
  for (const Axis& axis : mesh.axes()) {
    if (IsReplicate(binding.placements[axis]) && mesh.Coordinate(rank, axis) > 0) return true;
  }
  return false;
}

// The rank at coordinate 0 on every axis where the value is replicated.
int OriginalOf(const Binding& binding, const Mesh& mesh, int rank) {
  for (const Axis& axis : mesh.axes()) {
    if (IsReplicate(binding.placements[axis])) rank = mesh.Group(rank, axis)[0];
  }
  return rank;
}

bool HasPartial(const Binding& binding) {
  return std::ranges::any_of(binding.placements.entries(),
                             [](const auto& entry) { return IsPartial(entry.placement); });
}

// The one that it is partial by, on all axes that it is partial on (CheckTypes).
Reduction ReductionOf(const Binding& binding) {
  for (const auto& [axis, on] : binding.placements.entries()) {
    if (IsPartial(on)) return on.reduction;
  }
  return Reduction::kSum;
}

// Elements that are worth starting a thread for.
constexpr int64_t kWorthAThread = int64_t{1} << 18;

double NeutralOf(Reduction reduction) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (reduction == Reduction::kSum) return 0;
  return reduction == Reduction::kMax ? -kInfinity : kInfinity;
}

// A line of the last dimension: `count` elements, the first of which is number `index` of the
// global tensor and lies at element `place` of the buffer.
void FillLine(const Binding& binding, const std::function<double(int64_t)>& source, int64_t index,
              int64_t count, int64_t place, std::span<std::byte> buffer) {
  constexpr int64_t kAtATime = 512;
  const int64_t width = SizeOf(binding.dtype), stride = binding.view.column_stride();
  std::array<double, kAtATime> numbers;
  for (int64_t done = 0; done < count; done += kAtATime) {
    const std::span some(numbers.data(), std::min(kAtATime, count - done));
    const int64_t some_bytes = std::ssize(some) * width;
    FillFromSource(source, index + done, some);
    std::byte* const to = buffer.data() + (place + done * stride) * width;
    if (stride == 1) {
      EncodeFromDouble(binding.dtype, some, {to, static_cast<size_t>(some_bytes)});
      continue;
    }
    std::array<std::byte, kAtATime * sizeof(double)> packed;
    EncodeFromDouble(binding.dtype, some, {packed.data(), static_cast<size_t>(some_bytes)});
    for (int64_t i = 0; i < std::ssize(some); ++i) {
      std::memcpy(to + i * stride * width, packed.data() + i * width, width);
    }
  }
}

void CopyPart(const Binding& binding, std::span<const std::byte> part, HostTensor& whole) {
  const int64_t width = SizeOf(binding.dtype);
  ForEachRun(binding, [&](int64_t to, int64_t from, int64_t count) {
    std::memcpy(whole.bytes().data() + to * width, part.data() + from * width, count * width);
  });
}

void AddPart(const Binding& binding, std::span<const std::byte> part, std::vector<double>& sum) {
  const Reduction reduction = ReductionOf(binding);
  std::vector<double> values(binding.view.size());
  DecodeToDouble(binding.dtype, part, values);
  auto value = values.begin();
  ForEachElement(binding.view, [&](const Index& index, int64_t) {
    double& whole = sum[binding.GlobalIndex(index)];
    if (reduction == Reduction::kSum) {
      whole += *value++;
    } else {
      whole = reduction == Reduction::kMax ? std::max(*value++, whole) : std::min(*value++, whole);
    }
  });
}

}  // namespace

void FillLocal(const Binding& binding, const std::function<double(int64_t)>& source,
               std::span<std::byte> buffer) {
  const View& view = binding.view;
  const auto fill = [&](int64_t first, int64_t count) {  // of the first dimension
    View part = view;
    if (view.rank() > 0) {
      part.offset += first * view.dims[0].stride;
      part.dims[0].size = count;
    }
    ForEachElement(FirstsOf(part), [&](Index index, int64_t place) {
      index[0] += first;
      FillLine(binding, source, binding.GlobalIndex(index), part.columns(), place, buffer);
    });
  };
  const int64_t lines = view.rank() > 0 ? view.dims[0].size : 1;
  const int64_t workers = std::max(
      std::min({int64_t{std::thread::hardware_concurrency()}, lines, view.size() / kWorthAThread}),
      int64_t{1});
  std::vector<std::jthread> threads;
  for (int64_t i = 1; i < workers; ++i) {
    const int64_t first = lines * i / workers;
    threads.emplace_back(fill, first, lines * (i + 1) / workers - first);
  }
  fill(0, lines / workers);
}

std::vector<std::byte> ExtractLocal(const Binding& binding, std::span<const std::byte> buffer) {
  const View& view = binding.view;
  const int64_t width = SizeOf(binding.dtype);
  std::vector<std::byte> part(view.size() * width);
  std::byte* to = part.data();
  ForEachElement(FirstsOf(view), [&](const Index&, int64_t place) {
    if (view.column_stride() == 1) {
      std::memcpy(to, buffer.data() + place * width, view.columns() * width);
    } else {
      for (int64_t j = 0; j < view.columns(); ++j) {
        std::memcpy(to + j * width, buffer.data() + (place + j * view.column_stride()) * width,
                    width);
      }
    }
    to += view.columns() * width;
  });
  return part;
}

void InsertLocal(const Binding& binding, std::span<const std::byte> part,
                 std::span<std::byte> buffer) {
  const View& view = binding.view;
  const int64_t width = SizeOf(binding.dtype);
  const std::byte* from = part.data();
  ForEachElement(FirstsOf(view), [&](const Index&, int64_t place) {
    if (view.column_stride() == 1) {
      std::memcpy(buffer.data() + place * width, from, view.columns() * width);
    } else {
      for (int64_t j = 0; j < view.columns(); ++j) {
        std::memcpy(buffer.data() + (place + j * view.column_stride()) * width, from + j * width,
                    width);
      }
    }
    from += view.columns() * width;
  });
}

void ForEachRun(const Binding& binding,
                const std::function<void(int64_t whole, int64_t part, int64_t count)>& use) {
  View firsts = binding.view;  // with the first element of each run
  if (firsts.empty()) return;
  int64_t count = 1;
  for (int d = firsts.rank() - 1; d >= 0; --d) {
    const int64_t size = firsts.dims[d].size;
    count *= size;
    firsts.dims[d].size = 1;
    if (size != binding.shape[d]) break;
  }
  int64_t part = 0;
  ForEachElement(firsts, [&](const Index& index, int64_t) {
    use(binding.GlobalIndex(index), part, count);
    part += count;
  });
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
  if (HasPartial(first)) sum.resize(whole.size(), NeutralOf(ReductionOf(first)));
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
