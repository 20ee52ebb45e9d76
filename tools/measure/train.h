// Train: trains a Program in a Session, measures its steps, and brings back what happened.
//
// Inputs and parameters come from element sources, so that a rank makes just the part that it owns.
// Results come back as whole tensors on rank 0, assembled from the ranks; replicas are compared bit
// by bit on the way. Steps are timed one by one, after a barrier each.
//
// Several programs can be trained in turns, in one world: each one's timed steps are cut into
// blocks, and after a block of one comes a block of the next. So what drifts on the machine while
// they run falls on all of them, and what one leaves in the caches is pushed out by an untimed run
// of the next one's products.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/runtime/backend.h"
#include "tp/runtime/parts.h"
#include "tp/runtime/rank_record.h"

namespace tp {

// What rank 0 has done, of one program.
struct TrainProgress {
  int program = 0;
  bool products = false;  // `done` counts steps of the matrix products alone
  int done = 0;           // with the warm-up
};

struct TrainOptions {
  int warmup = 2;
  int steps = 10;
  // In which the timed steps are cut; as many as there are steps at the most.
  int blocks = 1;
  // Also time the matrix products alone, for as many steps; each block has its own.
  bool time_products = false;
  // Also profile this many steps, right after the timed ones; 0: none. They change no result.
  int profiled_steps = 0;
  // Whether results and parameters are brought back; false: losses and records alone.
  bool tensors = true;
  // Steps, from 0, whose parameters before and after and whose results are brought back too;
  // ascending, below warmup + steps. They are read between steps, which no step's time holds.
  std::vector<int> watched = {};
  // Called on rank 0 after each step.
  std::function<void(const TrainProgress&)> progress = nullptr;
  // Asked on rank 0 before each step: whether to end here, with what was done so far. Only where
  // all ranks live in one process.
  std::function<bool()> stop = nullptr;
};

inline constexpr int kTracedSteps = 5;

// A step that was watched.
struct WatchedStep {
  int step = 0;
  std::map<std::string, HostTensor> before;   // every parameter
  std::map<std::string, HostTensor> results;  // every matrix or vector result
  std::map<std::string, HostTensor> after;    // every parameter
};

struct TrainResult {
  bool complete = true;                     // false: TrainOptions::stop ended it before
  int steps = 0;                            // warm-up and timed ones
  std::vector<double> losses;               // of these; none where the program has no loss
  std::map<std::string, HostTensor> first;  // every matrix or vector result, after step 0
  std::map<std::string, HostTensor> last;   // every parameter, after the last step
  std::vector<WatchedStep> watched;
  std::vector<std::string> replica_defects;  // where replicas differ: "y: rank 1 differs from ..."
  std::vector<RankRecord> ranks;
};

// Trains `program`, whose inputs and parameters are fed from `sources` by name and whose result
// "loss", where it has one, is a scalar. Without progress on other processes than rank 0's, whose
// result is empty. Errors: INVALID_ARGUMENT for a missing source or a program that does not verify;
// the backend's.
StatusOr<TrainResult> Train(Backend& backend, const Mesh& mesh, const Program& program,
                            const std::map<std::string, ElementSource>& sources,
                            const TrainOptions& options);

// The same for several programs in turns, in their order; all are fed from the same sources. What
// was stopped has, for a program that did no step, a result of 0 steps.
StatusOr<std::vector<TrainResult>> TrainInTurns(Backend& backend, const Mesh& mesh,
                                                const std::vector<Program>& programs,
                                                const std::map<std::string, ElementSource>& sources,
                                                const TrainOptions& options);

}  // namespace tp
