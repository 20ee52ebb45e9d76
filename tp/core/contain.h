// Contain: exceptions of the C++ library end here, as a Status.
//
// What is called may throw where memory or threads run out, and by then it is too late to ask.
#pragma once

#include <functional>

#include "tp/core/status.h"

namespace tp {

// Runs `body` and returns what it returns; UNAVAILABLE where it throws for lack of memory or
// threads, and INTERNAL for any other exception. For the first function of a thread or a program.
Status Contain(const std::function<Status()>& body);

}  // namespace tp
