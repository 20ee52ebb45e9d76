#include "backends/cpu/cores.h"

#include <sched.h>

namespace tp::cpu {
namespace {

cpu_set_t AllowedCores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  // Where the system does not say (more cores than the set holds), none are known and none is
  // chosen.
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) CPU_ZERO(&allowed);
  return allowed;
}

}  // namespace

int NumCores() {
  const cpu_set_t allowed = AllowedCores();
  return CPU_COUNT(&allowed);
}

void StayOnCore(int index) {
  const cpu_set_t allowed = AllowedCores();
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed) || index-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    // Refused, the thread runs as well as it would have.
    [[maybe_unused]] const int refused = sched_setaffinity(0, sizeof(one), &one);
    return;
  }
}

}  // namespace tp::cpu
