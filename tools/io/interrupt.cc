#include "tools/io/interrupt.h"

#include <glog/logging.h>
#include <semaphore.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "tp/core/clock.h"

namespace tp::io {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

// One request may come as several signals: `timeout` sends one to its child and one to the group.
constexpr int64_t kOneRequestNs = 300'000'000;

// A handler can reach globals alone.
std::atomic<int> g_signal = 0;
std::atomic<int64_t> g_first_ns = 0;  // when it came
sem_t g_came;                         // posted for each signal, and where a waiter is to look again

void Note(int signal) {
  const int error = errno;
  if (g_signal.load() == 0) {
    g_first_ns.store(HostClock().NowNs());
    g_signal.store(signal);
    sem_post(&g_came);
  } else if (HostClock().NowNs() - g_first_ns.load() > kOneRequestNs) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);  // is delivered when this returns
  }
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
