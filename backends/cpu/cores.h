// The processor cores that this process may use, and threads that stay on one of them. Linux:
// sched_setaffinity(2).
#pragma once

namespace tp::cpu {

// How many there are; 0 where the system does not say.
int NumCores();

// Keeps the calling thread on the `index`th of them, from 0. Where there is none, or the system
// refuses, the thread stays free.
void StayOnCore(int index);

}  // namespace tp::cpu
