// A rank's parts of tensors, in and out of the buffers of its executor. Called from the rank's
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/runtime/executor.h"
#include "tp/schedule/schedule.h"

namespace tp {

// Element `index` (row-major, of the global tensor); it is rounded to the value's type. Several
// threads may ask at a time.
using ElementSource = std::function<double(int64_t index)>;

// What a value of a program is to those outside.
enum class Role { kInput, kParameter, kResult };
Role RoleOf(const Program& program, const Binding& binding);

// Puts this rank's part of a tensor into the bytes of the buffer that `binding` views; what shares
// the buffer stays as it is.
using Fill = std::function<void(const Binding& binding, std::span<std::byte> image)>;
// The argument outlives what is returned.
Fill FillFrom(const ElementSource& source);
Fill FillFrom(const HostTensor& tensor);

// Writes this rank's part, after the steps that were enqueued.
Status WritePart(Executor& executor, const Schedule& schedule, const Binding& binding,
                 const Fill& fill);

// Feeds it to the next step (Executor::Feed).
Status FeedPart(Executor& executor, const Schedule& schedule, const Binding& binding,
                const Fill& fill);

// This rank's part, row-major and packed, after the steps that were enqueued.
StatusOr<std::vector<std::byte>> ReadPart(Executor& executor, const Schedule& schedule,
                                          const Binding& binding);

}  // namespace tp
