#include "tools/bench/machine.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <sstream>
#include <thread>
#include <tuple>
#include <utility>

#include "backends/nccl/control/launch.h"
#include "fmt/format.h"
#include "tp/core/clock.h"

namespace tp::bench {
namespace {

constexpr double kShareThatDisturbs = 0.1;
constexpr double kShortest = 0.2;  // seconds; /proc/stat counts in hundredths

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "";
}

std::string DateInUtc() {
  const auto now = static_cast<std::time_t>(CalendarNs() / 1'000'000'000);
  std::tm utc = {};
  char text[32] = "";
  if (gmtime_r(&now, &utc) != nullptr) {
    std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  }
  return text;
}

// Seconds of all processors together since the machine began: busy, and in all.
std::pair<double, double> ProcessorSeconds() {
  std::ifstream file("/proc/stat");
  std::string line;
  if (!std::getline(file, line) || !line.starts_with("cpu ")) return {0, 0};
  std::istringstream words(line.substr(4));
  // user nice system idle iowait irq softirq steal; guests count as user.
  double all = 0, idle = 0, ticks = 0;
  for (int i = 0; i < 8 && words >> ticks; ++i) {
    all += ticks;
    if (i == 3 || i == 4) idle += ticks;
  }
  const auto per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  return {(all - idle) / per_second, all / per_second};
}

double OwnSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

Machine ThisMachine() {
  Machine machine;
  char name[256] = "";
  if (gethostname(name, sizeof(name) - 1) == 0) machine.name = name;
  machine.processor = ProcessorName();
  machine.cores = static_cast<int>(std::thread::hardware_concurrency());
  machine.date = DateInUtc();
  if (getloadavg(&machine.load, 1) != 1) machine.load = -1;
  return machine;
}

OtherProcesses::OtherProcesses() : own_(OwnSeconds()) {
  std::tie(busy_, all_) = ProcessorSeconds();
}

std::optional<double> OtherProcesses::Share() const {
  const auto [busy, all] = ProcessorSeconds();
  const double cores = std::max(1.0, static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN)));
  const double spent = all - all_;
  if (spent < kShortest * cores) return std::nullopt;
  const double others = (busy - busy_) - (OwnSeconds() - own_);
  return std::clamp(others / spent, 0.0, 1.0);
}

bool RunsAlone(const BenchOptions& options, const std::function<const char*(const char*)>& get) {
  if (options.backend != "nccl") return true;
  const auto launched = nccl::ReadLaunchEnvironment(get);
  return launched.ok() && !launched->has_value();
}

std::vector<std::string> WarningsOfLaunch(const BenchOptions& options,
                                          const std::function<const char*(const char*)>& get) {
  if (options.backend != "sim") return {};
  const auto launched = nccl::ReadLaunchEnvironment(get);
  if (launched.ok() && !launched->has_value()) return {};
  // What is not enough to connect the processes is enough to know that there are some.
  const std::string who = launched.ok() ? fmt::format("{} started {} processes",
                                                      (*launched)->launcher, (*launched)->world)
                                        : fmt::format(
                                              "a launcher seems to have started this "
                                              "process among others ({})",
                                              launched.status().message());
  return {fmt::format(
      "{}, and with --backend=sim each of them runs all ranks: they disturb each other, and the "
      "last one to end has its files kept; start one process, or take --backend=nccl",
      who)};
}

std::vector<std::string> WarningsBefore(const BenchOptions& options, const Machine& machine,
                                        const std::function<const char*(const char*)>& get) {
  std::vector<std::string> warnings = WarningsOfLaunch(options, get);
  if (options.backend != "sim") return warnings;
  const int world = options.tp * options.dp;
  if (machine.cores > 0 && world > machine.cores) {
    warnings.push_back(
        fmt::format("{} ranks share {} core{}: the times say nothing about as many processors",
                    world, machine.cores, machine.cores == 1 ? "" : "s"));
  }
  return warnings;
}

std::vector<std::string> WarningsAfter(const std::optional<double>& others) {
  if (!others || *others < kShareThatDisturbs) return {};
  return {
      fmt::format("other processes took {:.0f} % of this machine meanwhile: the times are "
                  "disturbed",
                  100 * *others)};
}

}  // namespace tp::bench
