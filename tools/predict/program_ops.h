// ProgramOps: what the ops of programs take alone, timed on a device that is here.
//
// One rank's part of each program runs without its collectives, on whatever its buffers hold: how
// collectives and other ops slow each other down is the replay's to say, not these times'. An op's
// time is its kernels' own, and the gap to the next one.
#pragma once

#include <vector>

#include "backends/predict/measurements.h"
#include "backends/predict/op_work.h"
#include "tools/predict/measured_cases.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/schedule/schedule.h"

namespace tp::predict_tool {

class ProgramOps {
 public:
  // Rank 0's part, which each rank of `world` runs for itself. Errors: Lower's.
  Status Add(Program program, const Mesh& mesh, int world, const LowerOptions& lower);
  // What a rank takes of its device and, for a while, of this machine: the largest arena, and the
  // largest buffer.
  double MostBytes() const;
  double LargestBuffer() const;
  // The programs, by the order in which they were added, for TimeCases.
  CaseList& list() { return list_; }

  // Those of `other` as well, with what they took.
  void Append(const ProgramOps& other);

  // From an op's end to the next one's beginning, in microseconds: what the smaller half of the
  // programs take beside their ops, for each that takes time. Of the others little errors are
  // larger than it.
  double GapUs() const;
  // What repeats of one op differ by, as a part.
  double Floor() const;
  // Products and other ops. An op of one size takes what it does in the middle of all programs that
  // have it: its operands are in caches as these leave them.
  predict::Measurements Measured(double gap_us) const;

 private:
  std::vector<Program> programs_;
  CaseList list_ = {.name = "programs", .ops = true};
};

// Its ops but collectives, all on one stream.
Schedule WithoutCollectives(Schedule schedule);

// What each op of a program takes of its stream's time: its own time and a gap of `gap_us`. An op
// of no time was done by a later one of its stream, the next that has some: these share by their
// bytes. `us` is by op, as `works`; of collectives nothing is said.
std::vector<double> ShareTimes(const Schedule& schedule, const std::vector<predict::OpWork>& works,
                               const std::vector<double>& us, double gap_us);

}  // namespace tp::predict_tool
