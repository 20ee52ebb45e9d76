// The silent bugs that real systems shipped, each planted in one or several forms.
//
// A bug is planted in up to two places. `program` is how a person would have written it into the
// model: if the rules of placements refuse it, that is one catch, and what `hooks` plants is the
// same bug in a system without such rules, behind the engine's back. If the rules have nothing
// against the program, it runs.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/planted/plant.h"
#include "tp/core/dtype.h"
#include "tp/layers/linear.h"
#include "tp/program/program.h"
#include "tp/verify/expectation.h"

namespace tp::planted {

// In the order in which they get a chance.
enum class Lane {
  kPlacement,  // the Program does not verify
  kHazard,     // a Schedule does not
  kRun,        // the collectives' own checks, or a deadlock
  kBytes,      // against the byte contract
  kReplicas,   // between the ranks that hold the same values
  kExact,
  kBounded,      // in the setting's type
  kBoundedBf16,  // in bf16, where the setting's type is fp32
};
inline constexpr Lane kAllLanes[] = {Lane::kPlacement, Lane::kHazard,     Lane::kRun,
                                     Lane::kBytes,     Lane::kReplicas,   Lane::kExact,
                                     Lane::kBounded,   Lane::kBoundedBf16};
// Whether the lane compares numbers, and so names a quantity.
bool NamesQuantity(Lane lane);
std::string Name(Lane lane);

// The training run that a bug is planted in. By default nothing divides.
struct Setting {
  LinearMode mode = LinearMode::kRow;
  int tp = 3;
  int dp = 1;
  int64_t tokens = 7;
  int64_t in_features = 19;
  int64_t out_features = 11;
  int steps = 3;
  DType dtype = DType::kFloat32;
  // Loss and gradient apart, and on the whole Y.
  bool optimize = true;
  sim::Algorithm algorithm = sim::Algorithm::kAuto;
};

struct Bug {
  int number;  // in the list of docs/numerics.md
  std::string form;
  Setting setting;
  std::function<void(Program&)> program = {};
  Hooks hooks = {};
  // What goes wrong first. None where nothing does, and only the cost is wrong.
  std::optional<verify::Quantity> quantity = {};
  // The lanes that catch it, and what each must name: a quantity ("dX"), or nothing where that is
  // `quantity`; of the lanes that compare no numbers a part of the error.
  std::map<Lane, std::string> caught_by;
};

// All forms of all bugs, by number.
std::vector<Bug> AllBugs();

}  // namespace tp::planted
