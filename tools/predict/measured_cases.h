// Cases: schedules that are made to be timed, one of each rank.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "backends/predict/measurements.h"
#include "tools/io/progress.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/runtime/backend.h"
#include "tp/schedule/schedule.h"

namespace tp::predict_tool {

struct TimedCase {
  std::vector<Schedule> schedules;  // by rank
  int launches = 1;                 // of the same, one after the other; a time is over that
};

TimedCase ProductCase(DType dtype, const predict::ProductShape& shape, int world);
// Of an array of `elements` for each member. What a member sends it has written just before, as in
// a step: what nobody has written since would be in the caches of its reader already, and not be
// sent at all. `alone`: the writes without the collective, which is what both differ by.
TimedCase CollectiveCase(CollectiveKind kind, DType dtype, int64_t elements, int world, bool alone);
// Where the world is larger than the mesh, of one rank, each rank has the program for itself.
StatusOr<TimedCase> ProgramCase(const Program& program, const Mesh& mesh, int world,
                                const LowerOptions& lower);

// How two streams of a rank hand over to each other: ops of a few bytes that wait for the one
// before, which is of the other stream. `alone`: the same on one stream.
TimedCase HandoverCase(DType dtype, int world, bool alone);

double Median(std::vector<double> values);  // of one or more

struct CaseTimes {
  std::vector<double> us;  // of a step, of the slowest rank, a launch
  // By op of rank 0, where ops were timed: its kernels alone, where it is they that are seen.
  std::vector<std::vector<double>> ops_us;
  double median() const;
  // What this takes more, time by time, than `other`, which was timed as often.
  CaseTimes Beyond(const CaseTimes& other) const;
  double op_median(size_t op) const;
  double Floor() const;  // mean of |log(time / median)|; all are above 0
};

// Cases, and what they took.
struct CaseList {
  std::string name;  // of what is timed, in a word or two
  std::vector<TimedCase> cases = {};
  bool ops = false;  // whether each op is timed, too
  std::vector<CaseTimes> times = {};
};

// One round: times each case in turn and adds to its list's `times`, which are made where there are
// none. A time is that of steps that follow each other without a break, for a millisecond or more:
// what begins and ends them is no part of a step. What the backend searches for, as the fastest
// algorithm of a product, it finds once for all lists. Nothing is added where another process has
// rank 0. `progress`, of the root alone, may be null. Errors: the backend's.
Status TimeCases(Backend& backend, int world, const std::vector<CaseList*>& lists,
                 DeviceInfo* device, io::Progress* progress);

}  // namespace tp::predict_tool
