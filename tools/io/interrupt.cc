#include "tools/io/interrupt.h"

#include <glog/logging.h>
#include <semaphore.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>

namespace tp::io {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};

// A handler can reach globals alone.
std::atomic<int> g_signal = 0;
sem_t g_came;  // posted for each signal, and where a waiter is to look again

void Note(int signal) {
  const int error = errno;
  g_signal.store(signal);
  for (int each : kSignals) std::signal(each, SIG_DFL);
  sem_post(&g_came);
  errno = error;
}

}  // namespace

Interrupt::Interrupt() {
  g_signal.store(0);
  CHECK_EQ(sem_init(&g_came, 0, 0), 0);
  for (int signal : kSignals) {
    struct sigaction before = {};
    sigaction(signal, nullptr, &before);
    if (before.sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    action.sa_handler = Note;
    action.sa_flags = SA_RESTART;
    sigaction(signal, &action, nullptr);
  }
}

Interrupt::~Interrupt() {
  for (int signal : kSignals) {
    struct sigaction now = {};
    sigaction(signal, nullptr, &now);
    if (now.sa_handler == Note) std::signal(signal, SIG_DFL);
  }
}

int Interrupt::Signal() { return g_signal.load(); }

ExitOnInterrupt::ExitOnInterrupt(std::function<void()> finish) {
  thread_ = std::thread([this, finish = std::move(finish)] {
    while (Interrupt::Signal() == 0) {
      while (sem_wait(&g_came) != 0) {
      }
      const auto lock = Hold();
      if (over_) return;
    }
    const auto lock = Hold();
    if (over_) return;
    finish();
    std::_Exit(Interrupt::ExitStatus());
  });
}

ExitOnInterrupt::~ExitOnInterrupt() {
  {
    const auto lock = Hold();
    over_ = true;
  }
  sem_post(&g_came);
  thread_.join();
}

}  // namespace tp::io
