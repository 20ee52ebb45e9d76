// Between whole tensors and the parts of them that lie in a rank's buffers.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/core/mesh.h"
#include "tp/schedule/schedule.h"

namespace tp {

// Writes this rank's part of a tensor, whose global element i is source(i), into the bytes of the
// buffer that `binding` views; the rest of them stays as it is. Of many elements `source` is called
// by several threads at a time.
void FillLocal(const Binding& binding, const std::function<double(int64_t)>& source,
               std::span<std::byte> buffer);

// This rank's part, row-major and packed, out of the bytes of its buffer.
std::vector<std::byte> ExtractLocal(const Binding& binding, std::span<const std::byte> buffer);

// The other way round: `part` into the bytes of the buffer; the rest of them stays as it is.
void InsertLocal(const Binding& binding, std::span<const std::byte> part,
                 std::span<std::byte> buffer);

// Calls `use` for the runs of elements that are neighbours in the part and in the whole, row-major:
// the index of the first in the whole and in the part, and how many. In the order of the part.
void ForEachRun(const Binding& binding,
                const std::function<void(int64_t whole, int64_t part, int64_t count)>& use);

// This rank's part, row-major and packed, of a whole tensor of the binding's shape and type.
std::vector<std::byte> CutPart(const Binding& binding, const HostTensor& whole);

// The whole tensor from every rank's part. Shards are put in place, partial values summed in
// double; of replicas the first one counts, and each that differs from it in a bit adds a line to
// `defects`.
HostTensor Assemble(const std::vector<const Binding*>& bindings,
                    const std::vector<std::span<const std::byte>>& parts, const Mesh& mesh,
                    std::vector<std::string>& defects);

}  // namespace tp
