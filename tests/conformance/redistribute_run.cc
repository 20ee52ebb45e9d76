#include "tests/conformance/redistribute_run.h"

#include <cstddef>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>

#include "tp/ops/ops.h"
#include "tp/runtime/assemble.h"
#include "tp/schedule/byte_contract.h"
#include "tp/schedule/lower.h"

namespace tp::conformance {
namespace {

// What `rank` is fed at global element `index`: the same on ranks that hold the same element,
// and different shares where the value is partial.
double Fed(const Transition& transition, const Mesh& mesh, int rank, int64_t index) {
  uint64_t key = static_cast<uint64_t>(index) + 1;
  for (Axis axis : kDefaultAxes) {
    const int share = IsPartial(transition.from[axis]) ? mesh.Coordinate(rank, axis) : 0;
    key = (key ^ static_cast<uint64_t>(share)) * 0x9e3779b97f4a7c15u;
    key ^= key >> 29;
  }
  return static_cast<double>(key % 15) - 7;
}

double Expected(const Transition& transition, const Mesh& mesh, int rank, int64_t index) {
  if (!IsPartial(transition.from[transition.axis])) return Fed(transition, mesh, rank, index);
  double sum = 0;
  for (int member : mesh.Group(rank, transition.axis)) {
    sum += Fed(transition, mesh, member, index);
  }
  return sum;
}

double ElementOf(const std::string& name, const Transition& transition, const Mesh& mesh, int rank,
                 int64_t index) {
  if (name == "identity") {
    const int64_t size =
        transition
            .shape[IsShard(transition.from[Axis::kTp], 0) || IsShard(transition.from[Axis::kDp], 0)
                       ? 1
                       : 0];
    return index / size == index % size ? 1 : 0;
  }
  if (name == "out") return Expected(transition, mesh, rank, index);
  return Fed(transition, mesh, rank, index);
}

// The bytes that a buffer must hold where `binding` lies, packed.
std::vector<std::byte> ExpectedPart(const Binding& binding, const Transition& transition,
                                    const Mesh& mesh, int rank) {
  Binding packed = binding;
  packed.view =
      PackedView(binding.view.buffer, 0, SizesOf(binding.view), Order::Own(binding.shape.size()));
  std::vector<std::byte> bytes(binding.view.size() * SizeOf(binding.dtype));
  FillLocal(
      packed, [&](int64_t index) { return ElementOf(binding.name, transition, mesh, rank, index); },
      bytes);
  return bytes;
}

// One rank: feeds its inputs, runs the steps, and returns the defects it sees, a line each.
class RankBody {
 public:
  RankBody(const Transition& transition, const Mesh& mesh, const Schedule& schedule)
      : transition_(transition), mesh_(mesh), schedule_(schedule) {}

  Status Run(RankContext& context, int steps) {
    TP_ASSIGN_OR_RETURN(executor_, context.MakeExecutor(schedule_));
    for (const Binding& binding : schedule_.bindings) {
      if (binding.name == "out") continue;
      std::vector<std::byte> image(schedule_.buffers[binding.view.buffer].bytes());
      FillLocal(
          binding,
          [&](int64_t index) {
            return ElementOf(binding.name, transition_, mesh_, schedule_.rank, index);
          },
          image);
      TP_RETURN_IF_ERROR(executor_->Write(binding.view.buffer, image));
    }
    for (int step = 0; step < steps; ++step) {
      TP_RETURN_IF_ERROR(executor_->EnqueueStep(StepKind::kWhole));
      TP_RETURN_IF_ERROR(executor_->Synchronize());
      for (const Binding& binding : schedule_.bindings) TP_RETURN_IF_ERROR(Check(binding, step));
    }
    return executor_->OpTimesAreFree() ? OkStatus() : CountBytes();
  }

  // By the algorithms of the collectives; of a group's first member for the whole group.
  int64_t StatedBytes() const {
    int64_t stated = 0;
    for (size_t i = 0; i < schedule_.ops.size(); ++i) {
      const ScheduledOp& op = schedule_.ops[i];
      if (op.action != Action::kCollective || op.group[0] != schedule_.rank) continue;
      stated += executor_->ExpectedBytes(static_cast<int>(i));
    }
    return stated;
  }

  int64_t BytesSent() const {
    int64_t sent = 0;
    for (const OpRecord& op : executor_->LastStep().ops) sent += op.bytes_sent;
    return sent;
  }
  const std::string& defects() const { return defects_; }

 private:
  // In one more step.
  Status CountBytes() {
    executor_->TimeOps(true);
    TP_RETURN_IF_ERROR(executor_->EnqueueStep(StepKind::kWhole));
    return executor_->Synchronize();
  }

  Status Check(const Binding& binding, int step) {
    std::vector<std::byte> image(schedule_.buffers[binding.view.buffer].bytes());
    TP_RETURN_IF_ERROR(executor_->Read(binding.view.buffer, image));
    if (ExtractLocal(binding, image) != ExpectedPart(binding, transition_, mesh_, schedule_.rank)) {
      defects_ += "'" + binding.name + "' is wrong on rank " + std::to_string(schedule_.rank) +
                  " after step " + std::to_string(step) + "\n";
    }
    return OkStatus();
  }

  const Transition& transition_;
  const Mesh& mesh_;
  const Schedule& schedule_;
  std::unique_ptr<Executor> executor_;
  std::string defects_;
};

}  // namespace

std::string ToString(const Transition& transition) {
  return std::string(Name(transition.dtype)) + " " + tp::ToString(transition.shape) + " " +
         tp::ToString(transition.from) + " -> " + tp::ToString(transition.to) + " on " +
         std::string(Name(transition.axis)) + (transition.computed ? ", computed" : ", fed");
}

std::vector<Transition> AllTransitions(const Shape& shape, DType dtype) {
  std::vector<Placement> all = {Replicate(), Partial()};
  for (size_t dim = 0; dim < shape.size(); ++dim) all.push_back(Shard(static_cast<int>(dim)));
  std::vector<Transition> transitions;
  for (Axis axis : kDefaultAxes) {
    const Axis other = axis == Axis::kTp ? Axis::kDp : Axis::kTp;
    for (Placement from : all) {
      for (Placement to : all) {
        if (from == to || IsPartial(to)) continue;
        for (Placement on_other : all) {
          Transition transition = {shape, dtype, axis, {}, to, false};
          transition.from.Set(other, on_other);
          transition.from.Set(axis,
                              from);  // within the other's parts, if it cuts the same dimension
          transitions.push_back(transition);
          // A product whose both factors are sharded over different dimensions has no identity.
          const bool has_product =
              shape.size() == 2 && !(IsShard(from) && IsShard(on_other) && from != on_other);
          if (!has_product) continue;
          transition.computed = true;
          transitions.push_back(transition);
        }
      }
    }
  }
  return transitions;
}

StatusOr<Program> MakeProgram(const Transition& transition) {
  Program program;
  const Phase phase = Phase::kForward;
  const Shape& shape = transition.shape;
  TP_ASSIGN_OR_RETURN(ValueId v, AddInput(program, Value{transition.computed ? "fed" : "v", shape,
                                                         transition.dtype, transition.from}));
  if (transition.computed) {
    const bool rows_sharded =
        IsShard(transition.from[Axis::kTp], 0) || IsShard(transition.from[Axis::kDp], 0);
    const int64_t size = shape[rows_sharded ? 1 : 0];
    TP_ASSIGN_OR_RETURN(const ValueId identity,
                        AddInput(program, Value{"identity", {size, size}, transition.dtype, {}}));
    TP_ASSIGN_OR_RETURN(v, AddMatMul(program, phase, "v", rows_sharded ? v : identity,
                                     rows_sharded ? identity : v, {}));
  }
  TP_ASSIGN_OR_RETURN(const ValueId out,
                      AddRedistribute(program, phase, "out", v, transition.axis, transition.to));
  program.AddResult(out);
  TP_RETURN_IF_ERROR(Verify(program));
  return program;
}

StatusOr<std::vector<std::string>> FindDefects(Backend& backend, const Mesh& mesh,
                                               const Transition& transition, int steps) {
  TP_ASSIGN_OR_RETURN(const Program program, MakeProgram(transition));
  std::vector<Schedule> schedules;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    TP_ASSIGN_OR_RETURN(Schedule schedule, Lower(program, mesh, rank));
    schedules.push_back(std::move(schedule));
  }
  std::vector<std::string> defects(mesh.world());  // each rank writes its own
  std::vector<int64_t> sent(mesh.world()), stated(mesh.world());
  TP_RETURN_IF_ERROR(backend.Run(mesh.world(), [&](RankContext& context) -> Status {
    RankBody body(transition, mesh, schedules[context.rank()]);
    TP_RETURN_IF_ERROR(body.Run(context, steps));
    defects[context.rank()] = body.defects();
    sent[context.rank()] = body.BytesSent();
    stated[context.rank()] = body.StatedBytes();
    return context.Barrier();
  }));
  std::erase(defects, "");
  int64_t contract = 0;
  for (const ContractEntry& entry : ByteContract(program, mesh)) contract += entry.bytes;
  const int64_t moved = std::accumulate(sent.begin(), sent.end(), int64_t{0});
  const int64_t due = std::accumulate(stated.begin(), stated.end(), int64_t{0});
  if (moved != due || moved < contract) {
    defects.push_back(std::to_string(moved) + " bytes moved, of " + std::to_string(due) +
                      " by the algorithm and at least " + std::to_string(contract));
  }
  return defects;
}

}  // namespace tp::conformance
