// Which of several processes this one is, from the variables that launchers set.
//
//   launcher   rank                  world                 device on its machine
//   torchrun   RANK                  WORLD_SIZE            LOCAL_RANK
//   Open MPI   OMPI_COMM_WORLD_RANK  OMPI_COMM_WORLD_SIZE  OMPI_COMM_WORLD_LOCAL_RANK
//   Slurm      SLURM_PROCID          SLURM_STEP_NUM_TASKS  SLURM_LOCALID
//                                    (or SLURM_NTASKS)
//   MPICH      PMI_RANK              PMI_SIZE              MPI_LOCALRANKID
//
// The processes meet at MASTER_ADDR, port MASTER_PORT + 1 (MASTER_PORT itself is torchrun's own).
// MASTER_PORT is 29500 where it is not set; MASTER_ADDR is this machine where all are on it.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "tp/core/status.h"

namespace tp::nccl {

struct LaunchEnvironment {
  std::string launcher;  // "torchrun", "Open MPI", "Slurm", "MPICH"
  int rank = 0;
  int world = 1;
  int local_rank = 0;
  std::string host;  // where rank 0 listens
  int port = 0;
};

// Returns the value of a variable, or null. std::getenv is one.
using GetVariable = std::function<const char*(const char*)>;

// Nothing where no launcher started more than one process. Errors: INVALID_ARGUMENT that names the
// variable that is missing, is no number, or contradicts another one.
StatusOr<std::optional<LaunchEnvironment>> ReadLaunchEnvironment(const GetVariable& get);

}  // namespace tp::nccl
