// Whether work fits in the memory that this process can still have, and that what is freed leaves
// it.
#pragma once

#include <string>

#include "tp/core/status.h"

namespace tp::io {

// Refuses what cannot fit, because the system would rather kill the process than refuse itself.
// `what` needs `bytes`, as in "3 matrices of 4 KiB"; `advice` is what to do. UNAVAILABLE.
Status CheckFits(double bytes, const std::string& what, const std::string& advice);

// Freed memory that a thread may keep, to have it at once for what comes next.
inline constexpr int kBytesKeptByThread = 16 << 20;

// What a rank's threads have on a CPU beside its buffers: what OpenBLAS packs operands into, as
// measured, and what was freed and is kept. Every tool asks for it that runs ranks.
inline constexpr double kBytesOfARanksThreads = (16 << 20) + kBytesKeptByThread;

// Makes what is freed go back to the system, but for kBytesKeptByThread with each thread. Unasked,
// glibc's malloc keeps more as larger blocks are freed (mallopt(3), M_MMAP_THRESHOLD), and how much
// depends on which threads meet. Call it before anything is allocated.
void ReturnFreedMemory();

}  // namespace tp::io
