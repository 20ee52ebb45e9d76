#include "backends/nccl/collectives/peer_memory.h"

#include <cuda_runtime_api.h>
#include <glog/logging.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>

#include "backends/nccl/error.h"

namespace tp::nccl {
namespace {

// What a rank says of its memory.
struct Offer {
  char machine[64] = {};  // since it was booted
  int64_t process = 0;
  int device = 0;
  int can_export = 0;
  char* base = nullptr;
  cudaIpcMemHandle_t handle = {};
};

StatusOr<Offer> MakeOffer(char* base) {
  Offer offer;
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  boot.getline(offer.machine, sizeof(offer.machine));
  offer.process = getpid();
  TP_CUDA(cudaGetDevice(&offer.device));
  offer.base = base;
  offer.can_export = cudaIpcGetMemHandle(&offer.handle, base) == cudaSuccess ? 1 : 0;
  [[maybe_unused]] const cudaError_t seen = cudaGetLastError();
  return offer;
}

// Null where the device does not reach it.
char* Reach(const Offer& mine, const Offer& other, std::vector<void*>* opened) {
  if (mine.machine[0] == 0 || std::strcmp(mine.machine, other.machine) != 0) return nullptr;
  if (mine.process == other.process) {
    if (mine.device == other.device) return other.base;
    int can = 0;
    if (cudaDeviceCanAccessPeer(&can, mine.device, other.device) != cudaSuccess || can == 0) {
      return nullptr;
    }
    const cudaError_t enabled = cudaDeviceEnablePeerAccess(other.device, 0);
    [[maybe_unused]] const cudaError_t seen = cudaGetLastError();
    const bool ok = enabled == cudaSuccess || enabled == cudaErrorPeerAccessAlreadyEnabled;
    return ok ? other.base : nullptr;
  }
  if (other.can_export == 0) return nullptr;
  void* base = nullptr;
  const cudaError_t error =
      cudaIpcOpenMemHandle(&base, other.handle, cudaIpcMemLazyEnablePeerAccess);
  [[maybe_unused]] const cudaError_t seen = cudaGetLastError();
  if (error != cudaSuccess) return nullptr;
  opened->push_back(base);
  return static_cast<char*>(base);
}

}  // namespace

StatusOr<std::unique_ptr<PeerMemory>> PeerMemory::Share(Control& control, char* base,
                                                        const std::string& note,
                                                        std::chrono::milliseconds deadline) {
  TP_ASSIGN_OR_RETURN(const Offer mine, MakeOffer(base));
  std::string bytes(reinterpret_cast<const char*>(&mine), sizeof(mine));
  TP_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                      control.Gather(bytes + note, Receivers::kEveryone, deadline));
  std::unique_ptr<PeerMemory> memory(new PeerMemory);
  for (int rank = 0; rank < control.world(); ++rank) {
    CHECK_GE(all[rank].size(), sizeof(Offer));
    Offer other;
    std::memcpy(&other, all[rank].data(), sizeof(other));
    memory->bases_.push_back(rank == control.rank() ? base : Reach(mine, other, &memory->opened_));
    memory->notes_.push_back(all[rank].substr(sizeof(other)));
  }
  return memory;
}

PeerMemory::~PeerMemory() {
  for (void* base : opened_) cudaIpcCloseMemHandle(base);
}

}  // namespace tp::nccl
