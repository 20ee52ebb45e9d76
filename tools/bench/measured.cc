#include "tools/bench/measured.h"

#include <utility>

#include "tp/schedule/memory.h"

namespace tp::bench {

bool MeasuredStep::memory_ok() const {
  for (size_t rank = 0; rank < memory_bytes.size(); ++rank) {
    if (allocated[rank].buffers != memory_bytes[rank]) return false;
  }
  return true;
}

StatusOr<MeasuredStep> MakeMeasuredStep(const std::string& backend, const Mesh& mesh,
                                        const Program& program, TrainResult& trained) {
  MeasuredStep result;
  TP_ASSIGN_OR_RETURN(result.steps, MakeStepReport(program, mesh, trained.ranks));
  for (const RankRecord& rank : trained.ranks) {
    result.memory_bytes.push_back(ArenaOf(rank.schedule).bytes);
    result.memory_bytes_without_reuse.push_back(BytesWithoutReuse(rank.schedule));
    result.allocated.push_back(rank.allocated);
    if (!rank.profiled.empty() && trained.complete) {
      result.timelines.push_back(MakeTimeline(rank, mesh.world(), backend));
    }
  }
  result.ranks = MakeRankReport(trained.ranks);
  result.replica_defects = std::move(trained.replica_defects);
  return result;
}

}  // namespace tp::bench
