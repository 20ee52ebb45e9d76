// Ops that GPUs do not compute yet; a schedule with one of them is UNAVAILABLE there. The list can
// only shrink: table_test fails for one that has its kernel.
#pragma once

#include <set>
#include <string_view>

namespace tp::nccl {

inline const std::set<std::string_view> kMissing = {"dropout"};

}  // namespace tp::nccl
