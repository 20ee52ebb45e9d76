// A TCP connection that carries framed messages, and the two ways to get one.
//
// Blocking; Send may be called by any thread, Receive by one. Sockets close when destroyed.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "tp/core/status.h"

namespace tp::nccl {

// kAsk asks for the steps begun: kHere, to rank 0, has those of one rank, and kAll those of all.
enum class MessageType : uint32_t {
  kHello,
  kBytes,
  kGathered,
  kFailed,
  kGoodbye,
  kAsk,
  kHere,
  kAll
};

struct Message {
  MessageType type = MessageType::kHello;
  int rank = 0;  // whom it is about
  std::string bytes;
};

class TcpConnection {
 public:
  explicit TcpConnection(int fd);
  ~TcpConnection();
  TcpConnection(const TcpConnection&) = delete;
  TcpConnection& operator=(const TcpConnection&) = delete;

  // Errors: INTERNAL where the connection is gone.
  Status Send(const Message& message);
  // Nothing where the other side is gone, or sent what is no message.
  std::optional<Message> Receive();
  // Ends a Receive in progress, once what has come is read.
  void Shutdown();
  // How long a Receive may take; zero for as long as it takes.
  void SetReceiveTimeout(std::chrono::milliseconds timeout);

 private:
  const int fd_;
  std::mutex send_mutex_;
};

class TcpListener {
 public:
  static StatusOr<std::unique_ptr<TcpListener>> Listen(int port);
  ~TcpListener();

  // The next connection, or nothing before `until`.
  std::unique_ptr<TcpConnection> Accept(std::chrono::steady_clock::time_point until);

 private:
  explicit TcpListener(int fd) : fd_(fd) {}

  const int fd_;
};

// Tries again until somebody listens or the time is up.
StatusOr<std::unique_ptr<TcpConnection>> TcpConnect(const std::string& host, int port,
                                                    std::chrono::steady_clock::time_point until);

}  // namespace tp::nccl
