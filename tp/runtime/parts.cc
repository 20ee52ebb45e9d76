#include "tp/runtime/parts.h"

#include <cstring>
#include <memory>

#include "tp/runtime/assemble.h"
#include "tp/runtime/region.h"

namespace tp {
namespace {

std::vector<std::byte> ImageOf(const Schedule& schedule, const Binding& binding) {
  return std::vector<std::byte>(schedule.buffers[binding.view.buffer].bytes());
}

}  // namespace

Role RoleOf(const Program& program, const Binding& binding) {
  const Op& op = program.ops()[program.DefinitionOf(binding.value)];
  if (op.Is(kParameter)) return Role::kParameter;
  return op.IsSource() ? Role::kInput : Role::kResult;
}

Fill FillFrom(const ElementSource& source) {
  return [&source](const Binding& binding, std::span<std::byte> image) {
    FillLocal(binding, source, image);
  };
}

Fill FillFrom(const HostTensor& tensor) {
  return [&tensor](const Binding& binding, std::span<std::byte> image) {
    InsertLocal(binding, CutPart(binding, tensor), image);
  };
}

Status WritePart(Executor& executor, const Schedule& schedule, const Binding& binding,
                 const Fill& fill) {
  // Of what is filled as a whole no byte is touched before, and then by several threads.
  const int64_t bytes = schedule.buffers[binding.view.buffer].bytes();
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(bytes);
  const std::span<std::byte> image(memory.get(), bytes);
  const bool all = binding.view.size() * SizeOf(binding.dtype) == bytes;
  if (!all) TP_RETURN_IF_ERROR(executor.Read(binding.view.buffer, image));
  fill(binding, image);
  return executor.Write(binding.view.buffer, image);
}

Status FeedPart(Executor& executor, const Schedule& schedule, const Binding& binding,
                const Fill& fill) {
  std::vector<std::byte> image = ImageOf(schedule, binding);
  fill(binding, image);
  for (const Region& region : RegionsOf(binding.view, SizeOf(binding.dtype))) {
    std::vector<std::byte> packed(region.size());
    for (int64_t run = 0; run < region.count; ++run) {
      std::memcpy(packed.data() + run * region.bytes,
                  image.data() + region.offset + run * region.stride, region.bytes);
    }
    TP_RETURN_IF_ERROR(executor.Feed(region, packed));
  }
  return OkStatus();
}

StatusOr<std::vector<std::byte>> ReadPart(Executor& executor, const Schedule& schedule,
                                          const Binding& binding) {
  std::vector<std::byte> image = ImageOf(schedule, binding);
  TP_RETURN_IF_ERROR(executor.Read(binding.view.buffer, image));
  return ExtractLocal(binding, image);
}

}  // namespace tp
