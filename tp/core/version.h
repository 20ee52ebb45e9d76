// The version of the engine and its tools; docs/changelog.md says what is in it.
#pragma once

namespace tp {

inline constexpr char kVersion[] = "0.2.0";

}  // namespace tp
