// Who may include whom: docs/architecture.md's table, as a function.
#pragma once

#include <string>
#include <string_view>

namespace tp {

// Why the file `from` may not include `included`, or "". Both are paths from the repository's root;
// `included` may also be a library's header, as it is written. A folder of tp/, sim/ or backends/
// that has no row in the table may include nothing of the repository.
std::string ObjectionToInclude(std::string_view from, std::string_view included);

}  // namespace tp
