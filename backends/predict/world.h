// World: a Program on a mesh of a machine's devices, ready to be replayed.
//
// Rank r is device r. Ranks that hold the same sizes are lowered once, and ranks that do the same
// at the same time are replayed once (fold.h), unless told otherwise.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/predict/collective_timer.h"
#include "backends/predict/cost_model.h"
#include "backends/predict/fold.h"
#include "backends/predict/op_work.h"
#include "backends/predict/replay.h"
#include "tp/core/clock.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/runtime/executor.h"
#include "tp/schedule/lower.h"

namespace tp::predict {

struct WorldOptions {
  LowerOptions lower = {};
  bool fold = true;
  bool closed = false;  // the closed form alone; then `seconds` is that, and no op has its times
};

// One rank that stands for all of its colour.
struct PredictedRank {
  int rank = 0;
  int stands_for = 1;
  Schedule schedule;
  StepRecord step;             // its clock is predicted
  std::vector<OpWork> works;   // by op; of collectives nothing
  std::vector<OpTimes> times;  // by op, what `step` has in whole nanoseconds; none of a closed form
  int64_t memory_bytes = 0;
};

struct Prediction {
  double seconds = 0;         // of a step, to the end of its last op
  double closed_seconds = 0;  // without contention, collectives by formula
  // Nine times in ten within seconds / spread and * spread; 0: nobody knows. Where it is known how
  // far off steps are whose ops were timed: as far, and by what the costs of ops other than
  // collectives may err, each for itself. Elsewhere as if all ops erred alike, which is too much.
  double spread = 0;
  std::vector<PredictedRank> ranks;
  std::vector<int> stand_in;  // by rank of the mesh, which of `ranks` stands for it
  int64_t memory_bytes = 0;   // of the fullest rank
  int64_t events = 0;
  // What the time of the ops of all kinds is made of, in seconds of the average rank.
  double compute_seconds = 0;
  double communication_seconds = 0;
  double exposed_seconds = 0;  // communication during which nothing is computed
};

// Errors: INVALID_ARGUMENT where the machine has fewer devices than the mesh has ranks; Lower's.
StatusOr<Prediction> Predict(const Program& program, const Mesh& mesh, const CostModel& model,
                             CollectiveTimer& timer, const WorldOptions& options = {});

}  // namespace tp::predict
