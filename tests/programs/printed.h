// What a program that prints what it found ends with.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace tp {

// `status` where all that was printed is written, to a full disk too; else 1, and why.
inline int Printed(int status) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
  std::fprintf(stderr, "the output is not complete: %s\n", std::strerror(errno));
  return 1;
}

}  // namespace tp
