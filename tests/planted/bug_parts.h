// How bugs are written: settings to plant them in, and edits of Programs.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/planted/bugs.h"
#include "tp/program/program.h"

namespace tp::planted {

// Bugs in what a step computes, and bugs in what its ranks hold and send.
void AddStepBugs(std::vector<Bug>& bugs);
void AddRankBugs(std::vector<Bug>& bugs);

inline const Setting kRow{.mode = LinearMode::kRow};
inline const Setting kColumn{.mode = LinearMode::kColumn};
// Loss and gradient of the whole Y, so that a wrong Y is passed on.
inline const Setting kWholeRow{.mode = LinearMode::kRow, .optimize = false};
// Bugs that need two axes; sizes divide, or ranks would disagree about counts and be told so.
inline const Setting kRowOnGrid{
    .mode = LinearMode::kRow, .tp = 2, .dp = 2, .tokens = 6, .in_features = 18, .out_features = 10};
inline const Setting kColumnOnGrid{.mode = LinearMode::kColumn,
                                   .tp = 2,
                                   .dp = 2,
                                   .tokens = 6,
                                   .in_features = 18,
                                   .out_features = 10};
inline const Setting kUnevenGrid{.mode = LinearMode::kColumn, .tp = 3, .dp = 2};

// By every lane that compares numbers with the reference, and by `others`.
std::map<Lane, std::string> ByNumbers(std::map<Lane, std::string> others = {});

Value& ValueNamed(Program& program, std::string_view name);
// The first op of its kind.
Op& FirstOf(Program& program, const OpDef& def);

// The edit that declares that `name` lies so on an axis, and leaves everything else as it was.
std::function<void(Program&)> Declare(std::string name, Axis axis, Placement placement);
// The edit that takes the redistribute which yields `name` out; who read its result reads what it
// was made of.
std::function<void(Program&)> ReadWithout(std::string name);

Hooks OnSchedule(std::function<void(Schedule&, const Mesh&)> edit);

}  // namespace tp::planted
