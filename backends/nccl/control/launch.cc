#include "backends/nccl/control/launch.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

namespace tp::nccl {
namespace {

constexpr int kDefaultMasterPort = 29500;

struct Launcher {
  const char* name;
  const char* rank;
  const char* world;
  const char* world_otherwise;  // read where `world` is not set
  const char* local_rank;
  const char* local_world;  // how many processes are on this machine; may be missing
};

constexpr Launcher kLaunchers[] = {
    {"torchrun", "RANK", "WORLD_SIZE", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_LOCALID",
     "SLURM_STEP_TASKS_PER_NODE"},
    {"MPICH", "PMI_RANK", "PMI_SIZE", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
};

StatusOr<int> ReadNumber(const GetVariable& get, const Launcher& launcher, const char* name,
                         int low, int high) {
  const char* text = get(name);
  if (text == nullptr) {
    return InvalidArgument(fmt::format("{} is not set, though {} is: {} sets both", name,
                                       launcher.rank, launcher.name));
  }
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end || value < low || value > high) {
    return InvalidArgument(
        fmt::format("{} is '{}'; it must be a number from {} to {}", name, text, low, high));
  }
  return value;
}

// Whether every process is on this machine, as far as the variables tell.
bool AllLocal(const GetVariable& get, const Launcher& launcher, int world) {
  const char* local = get(launcher.local_world);
  return local != nullptr && std::to_string(world) == local;
}

StatusOr<LaunchEnvironment> ReadAddress(const GetVariable& get, const Launcher& launcher,
                                        LaunchEnvironment environment) {
  int master_port = kDefaultMasterPort;
  if (get("MASTER_PORT") != nullptr) {
    TP_ASSIGN_OR_RETURN(master_port, ReadNumber(get, launcher, "MASTER_PORT", 1, 65534));
  }
  environment.port = master_port + 1;
  if (const char* host = get("MASTER_ADDR"); host != nullptr && *host != '\0') {
    environment.host = host;
  } else if (AllLocal(get, launcher, environment.world)) {
    environment.host = "127.0.0.1";
  } else {
    return InvalidArgument(fmt::format(
        "{} started {} processes and MASTER_ADDR is not set: set it to the machine of rank 0",
        launcher.name, environment.world));
  }
  return environment;
}

}  // namespace

StatusOr<std::optional<LaunchEnvironment>> ReadLaunchEnvironment(const GetVariable& get) {
  for (const Launcher& launcher : kLaunchers) {
    if (get(launcher.rank) == nullptr) continue;
    constexpr int kMost = 1 << 16;
    const char* world_name =
        get(launcher.world) != nullptr ? launcher.world : launcher.world_otherwise;
    LaunchEnvironment environment;
    environment.launcher = launcher.name;
    TP_ASSIGN_OR_RETURN(environment.world, ReadNumber(get, launcher, world_name, 1, kMost));
    if (environment.world == 1) return std::optional<LaunchEnvironment>();
    TP_ASSIGN_OR_RETURN(environment.rank,
                        ReadNumber(get, launcher, launcher.rank, 0, environment.world - 1));
    TP_ASSIGN_OR_RETURN(environment.local_rank,
                        ReadNumber(get, launcher, launcher.local_rank, 0, environment.world - 1));
    TP_ASSIGN_OR_RETURN(environment, ReadAddress(get, launcher, environment));
    return std::optional<LaunchEnvironment>(environment);
  }
  return std::optional<LaunchEnvironment>();
}

}  // namespace tp::nccl
