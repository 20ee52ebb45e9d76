// Whether this is a build under a sanitizer, where a test takes 15 to 50 times as long. A test of
// many cases takes fewer of them there: it touches memory in the same ways in each.
#pragma once

namespace tp {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace tp
