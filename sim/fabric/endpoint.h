// Endpoint: one member's way to send bytes to and receive bytes from the others of its group.
//
// Members are numbered 0..size()-1. Messages from one member to another arrive in order, and the
// sizes of a send and of its receive must agree: if not, the receiver gets INTERNAL, naming both.
// All calls come from one agent, and block it as Scheduler::Await does, with its errors.
//
// Nothing is copied on the way: a receive reads the sender's memory, which must therefore stay as
// it is until the receiver is known to have read it. Flush tells, and so does whatever the receiver
// sends back after its receive. After an error that memory must live until the others have left the
// group (Seat::memory), or Scheduler::Run has returned.
//
// What an algorithm does to the member's own memory goes through its endpoint, too: so an endpoint
// sees every byte that a collective touches, and one that touches none can record them all
// (sim/collectives/record.h). That is why the class is abstract, and so that a test can put a
// faulty endpoint in its place (see Fabric).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tp/core/collective.h"
#include "tp/core/dtype.h"
#include "tp/core/status.h"

namespace tp::sim {

class Endpoint {
 public:
  virtual ~Endpoint() = default;

  virtual int member() const = 0;
  virtual int size() const = 0;

  // Posts `data` to member `to`. Blocks only while too many earlier messages to it are unread.
  virtual Status Send(int to, std::span<const std::byte> data) = 0;

  // Copies the next message of member `from` to `data`.
  virtual Status Recv(int from, std::span<std::byte> data) = 0;

  // out = local (reduction) the next message of member `from`, elementwise in one pass, as by
  // Reduce. `out` may be `local` itself, and otherwise does not overlap it.
  virtual Status RecvReduce(int from, std::span<const std::byte> local, std::span<std::byte> out,
                            DType dtype, Reduction reduction) = 0;

  // Copies within the member's memory, where `from` is not `to` already.
  virtual void Copy(const std::byte* from, std::span<std::byte> to) = 0;

  // out = a (reduction) b, all of them the member's own, as by sim::Reduce.
  virtual void Reduce(std::span<const std::byte> a, std::span<const std::byte> b,
                      std::span<std::byte> out, DType dtype, Reduction reduction) = 0;

  // Returns when every message posted here was read.
  virtual Status Flush() = 0;

  // Bytes posted since this endpoint exists.
  virtual int64_t bytes_sent() const = 0;
};

}  // namespace tp::sim
