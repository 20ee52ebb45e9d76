// Control between processes: each keeps one TCP connection to rank 0, which listens.
//
// A process that dies closes its connection, and rank 0 tells the others which one it was; where a
// whole machine goes, TCP's keepalive finds out within about 20 s.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "backends/nccl/control/control.h"

namespace tp::nccl {

struct TcpControlOptions {
  int rank = 0;
  int world = 1;
  std::string host;  // of rank 0, as the others reach it; a name or an address
  int port = 0;
  std::chrono::milliseconds deadline{30000};  // for all to be connected
};

// Returns when this rank is connected; rank 0, when all are. Errors: INVALID_ARGUMENT for a host
// that has no address; INTERNAL for a port that is taken; DEADLINE_EXCEEDED that names who is
// missing.
StatusOr<std::unique_ptr<Control>> ConnectTcpControl(const TcpControlOptions& options);

}  // namespace tp::nccl
