// Verification op by op: every value of a step held against its op's reference, on the inputs that
// were observed.
//
// A bound of a whole step allows for all that was rounded on the way, and is blind in a deep
// network. Here each op answers for itself: by induction the sharded run is one legitimate rounding
// of the unsharded program, at any depth, and the first op that fails is the bug. What is compared
// is componentwise, with the bound of LocalReference; replicas must be the same bits.
//
// Not proved here: that the program is the right one, that references and the rules of placements
// and of the reverse pass are right (tests hold these by brute force and by dual numbers), and that
// an op which works in place does so outside of an observed step.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/verify/local_reference.h"
#include "tp/verify/logical_value.h"
#include "tp/verify/report.h"

namespace tp::verify {

struct OpByOpOptions {
  Arithmetic arithmetic = {};
  // In the exact lane an op whose bounds are not all 0 is undecided: on these inputs it may round.
  Lane lane = Lane::kBounded;
  // Everything, whatever it costs.
  bool full = false;
  // About how many points of an op's letters may be gone through for each value. Larger values are
  // checked on a sample: both sides of every border between shards, and a random draw.
  double max_points = 0x1p20;
  uint64_t seed = 0;
  // Called with how many of the program's values are done, by one thread at a time; may be null.
  std::function<void(int64_t done)> progress = nullptr;
};

// One value, and so one output of an op.
struct OpReport {
  int op = 0;  // index into the program's
  ValueId value = -1;
  std::string name;  // of the value
  std::string what;  // the op as ToString(program) prints it
  std::string def;   // what it is: the name of its OpDef
  Shape shape;
  bool observed = false;  // else what reads it was held against what it should be
  int64_t checked = 0;    // elements
  int64_t total = 0;
  int64_t failing = 0;
  int64_t undecided = 0;   // not failing, but with a bound above `size` or no finite number
  bool exact = false;      // no element's bound lets anything round
  bool may_round = false;  // why it is undecided in the exact lane
  double size = 0;         // root mean square of the expected elements

  // The element with the largest error in units of its bound.
  int64_t worst_index = 0;  // row-major
  double worst_observed = 0;
  double worst_expected = 0;
  double error = 0;
  double bound = 0;
  double ratio = 0;         // error / bound; at most 1 passes
  std::vector<int> owners;  // the ranks that hold the worst element

  std::vector<std::string> replica_defects;  // any of them is a failure
  std::vector<std::string> causes;           // of a failure, likeliest first
  std::vector<std::string> notes;

  Outcome outcome() const;
};

struct OpByOpReport {
  Lane lane = Lane::kBounded;
  std::vector<OpReport> values;  // in program order

  Outcome outcome() const;
  // The first value that fails, or nullptr.
  const OpReport* first_failure() const;
  // The largest error in units of its bound.
  double worst_ratio() const;
};

// `program` as it was observed (observe.h); passes may have been over it. A difference is a report
// whose outcome is kFail, not an error. Errors: a program that does not verify, an observation that
// is not of it. Takes as many threads as there are cores; the report does not depend on how many.
StatusOr<OpByOpReport> VerifyOpByOp(const Program& program, const Mesh& mesh,
                                    const ObservedValues& observed, const OpByOpOptions& options);

// A summary; then the ops that the exact lane can't decide since they may round, and a paragraph
// for each of the first values that fail or are undecided otherwise. Ends in a newline.
std::string ToString(const OpByOpReport& report);

}  // namespace tp::verify
