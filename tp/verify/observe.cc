#include "tp/verify/observe.h"

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "tp/runtime/assemble.h"
#include "tp/runtime/blob.h"
#include "tp/runtime/executor.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"

namespace tp::verify {
namespace {

using Sources = std::map<std::string, std::function<double(int64_t)>>;

bool IsSource(const Program& program, const Binding& binding) {
  return program.ops()[program.DefinitionOf(binding.value)].IsSource();
}

size_t PartBytes(const Binding& binding) {
  return static_cast<size_t>(binding.view.size()) * static_cast<size_t>(SizeOf(binding.dtype));
}

// Calls visit(index of a binding): sources first, which are read before the step.
template <typename Visit>
void ForEachBinding(const Program& program, const Schedule& schedule, const Visit& visit) {
  for (bool sources : {true, false}) {
    for (size_t i = 0; i < schedule.bindings.size(); ++i) {
      if (IsSource(program, schedule.bindings[i]) == sources) visit(i);
    }
  }
}

// What one rank does: feeds its executor, runs, and packs its parts, in the order of
// ForEachBinding.
class Observer {
 public:
  Observer(const Program& program, const Sources& sources, const Schedule& schedule)
      : program_(program), sources_(sources), schedule_(schedule) {}

  StatusOr<std::string> Run(RankContext& context, int steps_before) {
    TP_ASSIGN_OR_RETURN(executor_, context.MakeExecutor(schedule_));
    TP_RETURN_IF_ERROR(Feed());
    for (int step = 0; step < steps_before; ++step) TP_RETURN_IF_ERROR(Step());
    size_t bytes = 0;
    for (const Binding& binding : schedule_.bindings) bytes += PartBytes(binding) + sizeof(int64_t);
    blob_.Reserve(bytes);
    TP_RETURN_IF_ERROR(ReadParts(/*sources=*/true));
    TP_RETURN_IF_ERROR(Step());
    TP_RETURN_IF_ERROR(ReadParts(/*sources=*/false));
    executor_.reset();  // its memory is not needed while rank 0 puts the parts together
    return blob_.Take();
  }

 private:
  std::vector<std::byte> Image(const Binding& binding) const {
    return std::vector<std::byte>(schedule_.buffers[binding.view.buffer].bytes());
  }

  Status Feed() {
    for (const Binding& binding : schedule_.bindings) {
      if (!IsSource(program_, binding)) continue;
      std::vector<std::byte> image = Image(binding);
      // Where the part shares a buffer, the other parts in it stay as they are.
      TP_RETURN_IF_ERROR(executor_->Read(binding.view.buffer, image));
      FillLocal(binding, sources_.at(binding.name), image);
      TP_RETURN_IF_ERROR(executor_->Write(binding.view.buffer, image));
    }
    return OkStatus();
  }

  Status Step() {
    TP_RETURN_IF_ERROR(executor_->EnqueueStep(StepKind::kWhole));
    return executor_->Synchronize();
  }

  Status ReadParts(bool sources) {
    for (const Binding& binding : schedule_.bindings) {
      if (IsSource(program_, binding) != sources) continue;
      std::vector<std::byte> image = Image(binding);
      TP_RETURN_IF_ERROR(executor_->Read(binding.view.buffer, image));
      blob_.Bytes(ExtractLocal(binding, image));
    }
    return OkStatus();
  }

  const Program& program_;
  const Sources& sources_;
  const Schedule& schedule_;
  std::unique_ptr<Executor> executor_;
  BlobWriter blob_;
};

// The bindings and parts of one value, by rank.
struct Parts {
  std::vector<Binding> bindings;
  std::vector<std::span<const std::byte>> bytes;
};

// Adds to `shares` what the ranks hold of the value, `axis` and those after it still to be taken
// apart where it is a sum: each place on such an axis has a share, which is as if it were
// everywhere on the axis. A maximum needs no rounding, and is taken at once.
void TakeApart(const Parts& parts, const Mesh& mesh, size_t axis, LogicalValue& value,
               std::vector<std::string>& defects) {
  if (axis == mesh.axes().size()) {
    std::vector<const Binding*> bindings;
    for (const Binding& binding : parts.bindings) bindings.push_back(&binding);
    value.shares.push_back(Assemble(bindings, parts.bytes, mesh, defects));
    return;
  }
  const Axis on = mesh.axes()[axis];
  if (!IsSum(parts.bindings[0].placements[on])) {
    return TakeApart(parts, mesh, axis + 1, value, defects);
  }
  for (int place = 0; place < mesh.Size(on); ++place) {
    Parts share = parts;
    for (int rank = 0; rank < mesh.world(); ++rank) {
      share.bindings[rank].placements.Set(on, Replicate());
      share.bytes[rank] = parts.bytes[mesh.Group(rank, on)[place]];
    }
    TakeApart(share, mesh, axis + 1, value, defects);
  }
}

ObservedValues AssembleAll(const Program& program, const Mesh& mesh,
                           const std::vector<Schedule>& schedules,
                           const std::vector<std::string>& blobs) {
  ObservedValues observed;
  observed.values.resize(program.values().size());
  observed.replica_defects.resize(program.values().size());
  std::vector<BlobReader> readers(blobs.begin(), blobs.end());
  ForEachBinding(program, schedules[0], [&](size_t i) {
    Parts parts;
    for (size_t rank = 0; rank < readers.size(); ++rank) {
      parts.bindings.push_back(schedules[rank].bindings[i]);
      parts.bytes.push_back(readers[rank].Bytes());
    }
    const ValueId id = parts.bindings[0].value;
    observed.values[id].emplace();
    TakeApart(parts, mesh, 0, *observed.values[id], observed.replica_defects[id]);
  });
  return observed;
}

}  // namespace

Program KeepAll(const Program& program) {
  Program kept = program;
  std::vector<bool> left_out(program.values().size());
  for (ValueId id : program.results()) left_out[id] = true;  // it is one already
  for (const Op& op : program.ops()) {
    for (int i = 0; i < op.def->updates; ++i) {
      for (ValueId id : program.SharersOf(op.inputs[i])) left_out[id] = true;
    }
  }
  for (const Op& op : program.ops()) {
    if (op.IsSource()) continue;
    for (ValueId id : op.outputs) {
      if (!left_out[id] && !program.IsSumTree(id)) kept.AddResult(id);
    }
  }
  return kept;
}

StatusOr<double> BytesToObserve(const Backend& backend, const Mesh& mesh, const Program& program) {
  TP_ASSIGN_OR_RETURN(const std::vector<Schedule> schedules,
                      LowerAll(KeepAll(program), mesh, backend.HowToLower()));
  double bytes = 0;
  for (const Schedule& schedule : schedules) {
    bytes += static_cast<double>(ArenaOf(schedule).bytes);
    for (const Binding& binding : schedule.bindings) {
      bytes += static_cast<double>(PartBytes(binding));
    }
  }
  return bytes;
}

StatusOr<ObservedValues> Observe(Backend& backend, const Mesh& mesh, const Program& program,
                                 const Sources& sources, const ObserveOptions& options) {
  const Program kept = KeepAll(program);
  TP_RETURN_IF_ERROR(Verify(kept));
  TP_RETURN_IF_ERROR(backend.Check(mesh.world(), program.values().at(0).dtype));
  for (const Op& op : kept.ops()) {
    if (!op.IsSource()) continue;
    const std::string& name = kept.value(op.outputs[0]).name;
    if (sources.count(name) == 0) return InvalidArgument("no source feeds '" + name + "'");
  }
  TP_ASSIGN_OR_RETURN(const std::vector<Schedule> schedules,
                      LowerAll(kept, mesh, backend.HowToLower()));
  std::vector<std::string> blobs;  // rank 0's body alone writes it
  TP_RETURN_IF_ERROR(backend.Run(mesh.world(), [&](RankContext& context) -> Status {
    Observer observer(kept, sources, schedules[context.rank()]);
    TP_ASSIGN_OR_RETURN(std::string blob, observer.Run(context, options.steps_before));
    TP_ASSIGN_OR_RETURN(std::vector<std::string> gathered, context.GatherToRoot(std::move(blob)));
    if (context.rank() == 0) blobs = std::move(gathered);
    return OkStatus();
  }));
  if (!backend.IsRoot()) return ObservedValues();
  return AssembleAll(kept, mesh, schedules, blobs);
}

}  // namespace tp::verify
