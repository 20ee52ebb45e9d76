#include "tests/runtime/killed_saver.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tp {
namespace {

// Another one after each save.
ino_t NumberOf(const std::string& folder) {
  struct stat info = {};
  return stat(folder.c_str(), &info) == 0 ? info.st_ino : 0;
}

bool HasEnded(pid_t child) {
  siginfo_t info = {};
  return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
         info.si_pid == child;
}

}  // namespace

void KillWhileSaving(const std::string& folder, int round,
                     const std::function<void()>& save_for_ever) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    save_for_ever();
    _exit(1);
  }
  int looks = 0;  // from one save to the next
  for (int saves = 0; saves < 2; ++saves) {
    const ino_t before = NumberOf(folder);
    for (looks = 0; NumberOf(folder) == before && !HasEnded(child); ++looks) usleep(100);
  }
  usleep(
      static_cast<useconds_t>(100 * (round * 7919 % (looks + 1))));  // anywhere between two saves
  kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it could not save";
}

}  // namespace tp
