#include "tools/measure/unpack.h"

#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "tp/runtime/assemble.h"
#include "tp/runtime/blob.h"

namespace tp {
namespace {

std::vector<StepRecord> UnpackSteps(BlobReader& blob) {
  std::vector<StepRecord> steps(blob.Int());
  for (StepRecord& step : steps) step = UnpackStep(blob);
  return steps;
}

// The parts of each rank, by binding.
using Parts = std::vector<std::vector<std::span<const std::byte>>>;

// Assembles the parameters, or the results.
std::map<std::string, HostTensor> AssembleAll(const std::vector<RankRecord>& ranks,
                                              const Parts& parts, const Program& program,
                                              const Mesh& mesh, bool parameters,
                                              std::vector<std::string>& defects) {
  std::map<std::string, HostTensor> tensors;
  for (size_t i = 0; i < ranks[0].schedule.bindings.size(); ++i) {
    if (!IsWanted(program, ranks[0].schedule.bindings[i], parameters)) continue;
    std::vector<const Binding*> bindings;
    std::vector<std::span<const std::byte>> of_binding;
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      bindings.push_back(&ranks[rank].schedule.bindings[i]);
      of_binding.push_back(parts[rank][i]);
    }
    tensors[bindings[0]->name] = Assemble(bindings, of_binding, mesh, defects);
  }
  return tensors;
}

// Of one watched step, whose parts are the three from `parts` on.
WatchedStep AssembleWatched(int step, const Parts* parts, const Program& program, const Mesh& mesh,
                            TrainResult& result) {
  std::vector<std::string> defects;
  WatchedStep watched;
  watched.step = step;
  watched.before = AssembleAll(result.ranks, parts[0], program, mesh, true, defects);
  watched.results = AssembleAll(result.ranks, parts[1], program, mesh, false, defects);
  watched.after = AssembleAll(result.ranks, parts[2], program, mesh, true, defects);
  for (const std::string& defect : defects) {
    result.replica_defects.push_back(defect + ", in step " + std::to_string(step));
  }
  return watched;
}

// A replica's loss is the same number again.
bool HasOwnLoss(const Schedule& schedule, const Mesh& mesh, size_t rank) {
  const Binding& loss = schedule.BindingOf("loss");
  return std::ranges::none_of(mesh.axes(), [&](const Axis& axis) {
    return IsReplicate(loss.placements[axis]) && mesh.Coordinate(static_cast<int>(rank), axis) > 0;
  });
}

}  // namespace

bool HasLoss(const Program& program) {
  const StatusOr<ValueId> loss = program.Find("loss");
  return loss.ok() && program.IsResult(*loss);
}

bool IsWanted(const Program& program, const Binding& binding, bool parameters) {
  const Role role = RoleOf(program, binding);
  return parameters ? role == Role::kParameter : role == Role::kResult && !binding.shape.empty();
}

TrainResult Unpack(const std::vector<std::string>& blobs, const Program& program, const Mesh& mesh,
                   const TrainOptions& options, std::vector<Schedule> schedules) {
  TrainResult result;
  // Of the first step, the last, and three for each watched one.
  std::vector<Parts> parts(2 + 3 * options.watched.size(), Parts(blobs.size()));
  for (size_t rank = 0; rank < blobs.size(); ++rank) {
    BlobReader blob(blobs[rank]);
    RankRecord record;
    record.schedule = std::move(schedules[rank]);
    const bool counts = HasLoss(program) && HasOwnLoss(record.schedule, mesh, rank);
    result.complete = blob.Int() == 0;
    result.steps = blob.Int();
    result.losses.resize(static_cast<size_t>(blob.Int()));
    for (double& total : result.losses) {
      const double share = blob.Double();
      if (counts) total += share;
    }
    for (Parts& of_all : parts) {
      for (size_t i = 0; i < record.schedule.bindings.size(); ++i) {
        of_all[rank].push_back(blob.Bytes());
      }
    }
    record.steps = UnpackSteps(blob);
    record.op_steps = UnpackSteps(blob);
    record.products = UnpackSteps(blob);
    record.profiled = UnpackSteps(blob);
    record.profile = UnpackProfile(blob);
    record.allocated.buffers = blob.Int();
    record.allocated.scratch = blob.Int();
    for (size_t i = 0; i < record.schedule.ops.size(); ++i) {
      record.algorithms.push_back(blob.Text());
      record.expected_bytes.push_back(blob.Int());
    }
    result.ranks.push_back(std::move(record));
  }
  if (result.steps == 0 || !options.tensors) return result;
  result.first = AssembleAll(result.ranks, parts[0], program, mesh, false, result.replica_defects);
  result.last = AssembleAll(result.ranks, parts[1], program, mesh, true, result.replica_defects);
  for (size_t i = 0; i < options.watched.size() && result.complete; ++i) {
    result.watched.push_back(
        AssembleWatched(options.watched[i], &parts[2 + 3 * i], program, mesh, result));
  }
  return result;
}

}  // namespace tp
