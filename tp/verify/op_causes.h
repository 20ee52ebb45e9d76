// Which classic mistake explains what one op gave: words for a reader, which decide nothing.
//
// A hypothesis says what each element would be if one mistake had been made. It is named if it
// explains every wrong element that was looked at, up to the bound.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tp/core/bounded.h"
#include "tp/verify/local_reference.h"

namespace tp::verify {

struct WrongValue {
  const LocalReference& reference;
  ValueId value;
  const std::vector<int64_t>& indices;         // that were checked
  const std::vector<BoundedNumber>& expected;  // there
  const std::vector<size_t>& failing;          // places in both; not empty
};

// One sentence a cause, likeliest first. Ends with where the wrong elements lie, if that is one
// rank's part or one index of a dimension.
std::vector<std::string> CausesOf(const WrongValue& wrong);

}  // namespace tp::verify
