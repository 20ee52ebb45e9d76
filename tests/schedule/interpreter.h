// Interpreter: runs the Schedules of all ranks of a mesh in one thread, slowly and in double.
//
// It does what a schedule says and nothing more: an op touches the views it names, collectives are
// direct loops over the members' memory, and any op may run next whose stream and waits allow it,
// so that a missing wait or a wrong view shows as a wrong number. Memory that a step has not
// written yet is NaN, inputs and parameters excepted. So is what lies in bytes that another buffer
// was written to since, and a buffer that no op uses any more, unless it is bound.
//
// Integers small enough are exact in any order, so results are compared for equality.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/program/evaluate.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"
#include "tp/schedule/schedule.h"

namespace tp {

class Interpreter {
 public:
  // Lowers `program`, which must verify, for every rank of `mesh`.
  Interpreter(const Program& program, const Mesh& mesh, const LowerOptions& options = {});
  // Runs these, one a rank of `mesh`.
  Interpreter(std::vector<Schedule> schedules, const Mesh& mesh);

  const std::vector<Schedule>& schedules() const { return schedules_; }

  // Writes the ranks' parts of every input and parameter. Where a value is Partial, each rank gets
  // another part, and they sum to the source's value.
  void Fill(const Sources& sources);

  // Runs one step. `seed` picks which of the ops that may run runs next; some seeds prefer one
  // stream. Errors: collectives that do not match, and deadlock.
  Status Step(uint64_t seed);

  // The whole tensor of an input, parameter or result. Errors: replicas that differ, elements that
  // no rank holds or two do.
  StatusOr<std::vector<double>> Read(std::string_view name) const;

 private:
  using Memory = std::vector<std::vector<double>>;  // by buffer
  using Choices = std::vector<std::pair<int, Stream>>;

  struct Progress {
    std::vector<int> queue[kMostStreams];  // ops of each stream, in order
    size_t next[kMostStreams] = {};
    std::vector<bool> done;
    std::vector<int> uses_left;  // by buffer
  };

  double& At(int rank, BufferId buffer, int64_t place);
  // All elements of a view, row-major.
  std::vector<double> ElementsOf(int rank, const View& view) const;
  void Write(int rank, const View& view, const std::vector<double>& elements);
  void PoisonAllButSources();

  // Prepares a step and returns the number of ops on all ranks.
  size_t Begin();
  // The next op of a stream, if the waits allow it to run.
  const ScheduledOp* ReadyOp(int rank, Stream stream) const;
  // Whether a collective, ready on `rank`, is ready on its whole group, and alike.
  StatusOr<bool> GroupIsReady(int rank, const ScheduledOp& op) const;
  // What may run next; on the favoured stream, if there is any.
  StatusOr<Choices> ReadyOps(std::optional<Stream> favoured) const;
  void Compute(int rank, const ScheduledOp& op);
  void Multiply(int rank, const ScheduledOp& op);
  std::vector<double> SumTerms(int rank, const ScheduledOp& op, int64_t begin, int64_t end) const;
  void ComputeByReference(int rank, const ScheduledOp& op);
  void Collective(const std::vector<int>& group, const std::vector<const ScheduledOp*>& ops);
  void Finish(int rank, Stream stream);
  // Poisons what other buffers had in the bytes that `op` wrote, and buffers that it used last.
  void EndLives(int rank, const ScheduledOp& op);

  // The rank that holds the same part, first on every axis where the value is replicated.
  int OriginalOf(const Binding& binding, int rank) const;
  // A rank's part, row-major.
  std::vector<double> Local(std::string_view name, int rank) const;

  const Mesh mesh_;
  std::vector<Schedule> schedules_;
  std::set<std::string, std::less<>> filled_;  // names of inputs and parameters
  std::vector<Memory> memory_;                 // by rank
  std::vector<ArenaLayout> arenas_;            // by rank
  std::vector<Progress> progress_;
};

}  // namespace tp
