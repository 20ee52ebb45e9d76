// StepReport: where the time of a training step went, and what its collectives moved.
//
// All times are of the records' clock. A step's time is that of its slowest rank. Phase times are
// means over the steps whose ops were timed and over the ranks: what an average rank did in an
// average step. `exposed` is the part of the communication during which the rank computed nothing.
//
// algbw is the bytes of the whole array over the time of the last rank to come (whose duration
// holds no waiting for others); busbw is algbw times the factor of nccl-tests
// (tp/core/collective.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tp/core/clock.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/runtime/rank_record.h"
#include "tp/schedule/byte_contract.h"

namespace tp {

struct Quantiles {
  double median = 0;
  double min = 0;
  double p99 = 0;  // nearest rank: the largest of fewer than 100
};
// CHECKs that there is a value.
Quantiles QuantilesOf(std::vector<double> values);

struct PhaseTime {
  Phase phase = Phase::kForward;
  double compute_ms = 0;
  double communication_ms = 0;
  double exposed_ms = 0;
};

struct CollectiveReport {
  ContractEntry contract;
  bool declared = true;  // the Program asks for it; false: it ran all the same
  std::string algorithm;
  int members = 0;
  int64_t array_bytes = 0;      // of one group's whole array, the largest of the groups
  int64_t called_bytes = 0;     // the least that the calls which ran can send; see contract.bytes
  int64_t algorithm_bytes = 0;  // what their algorithm says that it sends, by all ranks together
  int64_t bytes_sent = 0;       // by all ranks together, in one step: counted
  double time_us = 0;           // median over the steps
  double algbw_gbps = 0;        // 10^9 bytes a second
  double busbw_gbps = 0;
  // What ran is what the placements ask for, and sent what its algorithm says, no byte more or
  // less. An algorithm may say more than the least, for fewer steps; never less.
  bool ok() const {
    return declared && called_bytes == contract.bytes && bytes_sent == algorithm_bytes &&
           bytes_sent >= contract.bytes;
  }
};

// What is wrong with the bytes of a collective that is not ok: "moved 8 bytes, where ...".
std::string DescribeWrongBytes(const CollectiveReport& collective);

struct OpTime {
  std::string name;
  Action action = Action::kCopy;
  Phase phase = Phase::kForward;
  double time_us = 0;  // mean over the steps and the ranks that run it
};

// Of the profiled steps, where there are any. The phases are those of the steps that were traced.
struct ProfileReport {
  Quantiles step;
  int steps = 0;
  int traced = 0;
  double overhead = 0;  // how much longer the median is than that of the timed steps; 0.01 is 1 %
  std::vector<PhaseTime> phases;
};

struct StepReport {
  std::vector<double> step_ms;  // of each timed step
  Quantiles step;
  std::optional<Quantiles> products;          // of the matrix products alone, where they were timed
  std::vector<PhaseTime> phases;              // one for each of kAllPhases
  std::vector<OpTime> ops;                    // in rank 0's order; what it does not run behind
  std::vector<CollectiveReport> collectives;  // in program order; undeclared ones behind
  bool bytes_ok = true;
  std::optional<ProfileReport> profile;
  ClockKind clock = ClockKind::kMeasured;  // what all the times are
};

// From the records of all ranks. Errors: INVALID_ARGUMENT where there is no timed op.
StatusOr<StepReport> MakeStepReport(const Program& program, const Mesh& mesh,
                                    const std::vector<RankRecord>& ranks);

}  // namespace tp
