// PeerMemory: the other ranks' memory, as this rank's GPU reaches it.
//
// Between threads of a process by peer access, between processes of a machine by CUDA's IPC
// handles; not between machines. What is shared must stay until all ranks have let go of it:
// destroy this object, meet, and only then free.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "backends/nccl/control/control.h"
#include "tp/core/status.h"

namespace tp::nccl {

class PeerMemory {
 public:
  // Called by all ranks alike, each with the device of `base` current; `base` is from cudaMalloc.
  // `note` travels along. That memory can't be reached is no error: see BaseOf.
  static StatusOr<std::unique_ptr<PeerMemory>> Share(Control& control, char* base,
                                                     const std::string& note,
                                                     std::chrono::milliseconds deadline);
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  // Where the rank's `base` lies for this one; null where it can't be reached.
  char* BaseOf(int rank) const { return bases_[rank]; }
  const std::string& NoteOf(int rank) const { return notes_[rank]; }

 private:
  PeerMemory() = default;

  std::vector<char*> bases_;
  std::vector<std::string> notes_;
  std::vector<void*> opened_;  // by IPC
};

}  // namespace tp::nccl
