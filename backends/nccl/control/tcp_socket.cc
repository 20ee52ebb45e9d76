#include "backends/nccl/control/tcp_socket.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

namespace tp::nccl {
namespace {

constexpr uint32_t kMagic = 0x74706e63;  // "tpnc"

struct Header {
  uint32_t magic = kMagic;
  MessageType type = MessageType::kHello;
  int32_t rank = 0;
  uint32_t unused = 0;
  uint64_t length = 0;
};

bool SendAll(int fd, const void* data, size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += sent;
    size -= static_cast<size_t>(sent);
  }
  return true;
}

bool ReceiveAll(int fd, void* data, size_t size) {
  char* at = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t received = recv(fd, at, size, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    at += received;
    size -= static_cast<size_t>(received);
  }
  return true;
}

void SetOption(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof(value));
}

int MillisecondsUntil(std::chrono::steady_clock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      until - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30));
}

// A connected socket, or -1.
int TryConnect(const addrinfo* addresses) {
  for (const addrinfo* address = addresses; address != nullptr; address = address->ai_next) {
    const int fd =
        socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol);
    if (fd < 0) continue;
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0) return fd;
    close(fd);
  }
  return -1;
}

}  // namespace

TcpConnection::TcpConnection(int fd) : fd_(fd) {
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  // A machine that is gone answers no probe: noticed after 10 + 3 * 3 s.
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 3);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 20000);
}

TcpConnection::~TcpConnection() { close(fd_); }

Status TcpConnection::Send(const Message& message) {
  Header header;
  header.type = message.type;
  header.rank = message.rank;
  header.length = message.bytes.size();
  std::lock_guard lock(send_mutex_);
  if (SendAll(fd_, &header, sizeof(header)) &&
      SendAll(fd_, message.bytes.data(), message.bytes.size())) {
    return OkStatus();
  }
  return Internal(fmt::format("sending over TCP: {}", std::strerror(errno)));
}

std::optional<Message> TcpConnection::Receive() {
  Header header;
  if (!ReceiveAll(fd_, &header, sizeof(header)) || header.magic != kMagic) return std::nullopt;
  // A stranger's first message must not make us allocate what it promises.
  constexpr uint64_t kMostInHello = 16;
  if (header.type == MessageType::kHello && header.length > kMostInHello) return std::nullopt;
  Message message{header.type, header.rank, std::string(header.length, '\0')};
  if (!ReceiveAll(fd_, message.bytes.data(), message.bytes.size())) return std::nullopt;
  return message;
}

void TcpConnection::Shutdown() { shutdown(fd_, SHUT_RDWR); }

void TcpConnection::SetReceiveTimeout(std::chrono::milliseconds timeout) {
  timeval value{};
  value.tv_sec = timeout.count() / 1000;
  value.tv_usec = (timeout.count() % 1000) * 1000;
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof(value));
}

StatusOr<std::unique_ptr<TcpListener>> TcpListener::Listen(int port) {
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool ipv6 = fd >= 0;
  const int any = ipv6 ? fd : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (any < 0) return Internal(fmt::format("making a socket: {}", std::strerror(errno)));
  SetOption(any, SOL_SOCKET, SO_REUSEADDR, 1);
  int result = 0;
  if (ipv6) {
    SetOption(any, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_any;
    address.sin6_port = htons(static_cast<uint16_t>(port));
    result = bind(any, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    result = bind(any, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }
  if (result != 0 || listen(any, SOMAXCONN) != 0) {
    const int error = errno;
    close(any);
    return Internal(
        fmt::format("rank 0 listens on port {} (MASTER_PORT + 1): {}", port, std::strerror(error)));
  }
  return std::unique_ptr<TcpListener>(new TcpListener(any));
}

TcpListener::~TcpListener() { close(fd_); }

std::unique_ptr<TcpConnection> TcpListener::Accept(std::chrono::steady_clock::time_point until) {
  while (true) {
    pollfd wait{fd_, POLLIN, 0};
    const int ready = poll(&wait, 1, MillisecondsUntil(until));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return nullptr;
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) return std::make_unique<TcpConnection>(fd);
  }
}

StatusOr<std::unique_ptr<TcpConnection>> TcpConnect(const std::string& host, int port,
                                                    std::chrono::steady_clock::time_point until) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* addresses = nullptr;
  const int found = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &addresses);
  if (found != 0) {
    return InvalidArgument(fmt::format("MASTER_ADDR '{}': {}", host, gai_strerror(found)));
  }
  int fd = TryConnect(addresses);
  while (fd < 0 && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    fd = TryConnect(addresses);
  }
  const int error = errno;
  freeaddrinfo(addresses);
  if (fd >= 0) return std::make_unique<TcpConnection>(fd);
  return DeadlineExceeded(
      fmt::format("rank 0 does not listen at {} port {}: {}", host, port, std::strerror(error)));
}

}  // namespace tp::nccl
