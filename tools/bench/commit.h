// Which commit this program was built of.
#pragma once

namespace tp::bench {

// "147e72402c1a", with "+" behind where files differed from it; "unknown" outside of git.
extern const char* const kCommit;

}  // namespace tp::bench
