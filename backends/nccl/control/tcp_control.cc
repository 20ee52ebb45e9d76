#include "backends/nccl/control/tcp_control.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <optional>
#include <thread>
#include <utility>

#include "backends/nccl/control/tcp_socket.h"

namespace tp::nccl {
namespace {

using Clock = std::chrono::steady_clock;

std::string Pack(const std::vector<std::string>& parts) {
  std::string packed;
  for (const std::string& part : parts) {
    const uint64_t length = part.size();
    packed.append(reinterpret_cast<const char*>(&length), sizeof(length));
    packed += part;
  }
  return packed;
}

std::vector<std::string> Unpack(const std::string& packed) {
  std::vector<std::string> parts;
  for (size_t at = 0; at + sizeof(uint64_t) <= packed.size();) {
    uint64_t length = 0;
    std::memcpy(&length, packed.data() + at, sizeof(length));
    parts.push_back(packed.substr(at + sizeof(length), length));
    at += sizeof(length) + length;
  }
  return parts;
}

// A status as a kFailed message, and back.
Message FailedMessage(int rank, const Status& cause) {
  return {MessageType::kFailed, rank,
          std::string(1, static_cast<char>(cause.code())) + cause.message()};
}
Status CauseIn(const Message& message) {
  if (message.bytes.empty()) return Internal("no cause given");
  const auto code = static_cast<StatusCode>(message.bytes[0]);
  if (code <= StatusCode::kOk || code > StatusCode::kInternal) return Internal("no cause given");
  return Status(code, message.bytes.substr(1));
}

// Numbers as bytes, and back.
std::string PackNumbers(const std::vector<int64_t>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(int64_t)};
}
std::vector<int64_t> UnpackNumbers(const std::string& bytes) {
  std::vector<int64_t> numbers(bytes.size() / sizeof(int64_t));
  std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(int64_t));
  return numbers;
}

constexpr std::chrono::milliseconds kAnswerTakes(2000);

// What came over one connection and was not yet taken.
struct Peer {
  int rank = 0;
  std::unique_ptr<TcpConnection> connection;
  std::thread reader;
  // Guarded by TcpControl::mutex_.
  std::deque<std::string> received;
  bool left = false;           // said goodbye
  int64_t answered = 0;        // the last question, with
  std::vector<int64_t> begun;  // steps, of this rank, or from rank 0 of all
};

class TcpControl : public Control {
 public:
  // `peers` are all others in rank order on rank 0, and rank 0 alone elsewhere.
  TcpControl(int rank, int world, std::vector<std::unique_ptr<TcpConnection>> connections)
      : rank_(rank), world_(world) {
    for (size_t i = 0; i < connections.size(); ++i) {
      auto peer = std::make_unique<Peer>();
      peer->rank = rank == 0 ? static_cast<int>(i) + 1 : 0;
      peer->connection = std::move(connections[i]);
      peers_.push_back(std::move(peer));
    }
    for (const std::unique_ptr<Peer>& peer : peers_) {
      peer->reader = std::thread([this, &peer = *peer] { Read(peer); });
    }
  }

  ~TcpControl() override {
    {
      std::lock_guard lock(mutex_);
      leaving_ = true;
      changed_.notify_all();
    }
    SendToPeers({MessageType::kGoodbye, rank_, ""});
    for (const std::unique_ptr<Peer>& peer : peers_) peer->connection->Shutdown();
    for (const std::unique_ptr<Peer>& peer : peers_) peer->reader.join();
    for (std::thread& thread : answering_) thread.join();
  }

  int rank() const override { return rank_; }
  int world() const override { return world_; }

  StatusOr<std::vector<std::string>> Gather(std::string bytes, Receivers receivers,
                                            std::chrono::milliseconds deadline) override {
    TP_RETURN_IF_ERROR(Failure());
    if (rank_ != 0) {
      SendToPeers({MessageType::kBytes, rank_, std::move(bytes)});
      if (receivers == Receivers::kRoot) return std::vector<std::string>();
      TP_ASSIGN_OR_RETURN(std::vector<std::string> packed, Take(deadline));
      return Unpack(packed[0]);
    }
    TP_ASSIGN_OR_RETURN(std::vector<std::string> all, Take(deadline));
    all.insert(all.begin(), std::move(bytes));
    if (receivers == Receivers::kEveryone) {
      SendToPeers({MessageType::kGathered, 0, Pack(all)});
    }
    return all;
  }

  void BeginStep() override { ++begun_; }
  std::string WhoIsLate() const override { return DescribeLate(Ask()); }

  void Fail(const Status& cause) override { Report(rank_, cause); }

  Status Failure() const override { return failure_.ErrorFor(rank_); }
  Status NamedFailure() const override { return failure_.Named(); }

 private:
  // A send that fails is a peer that is gone, and the reader of its connection says so.
  void SendToPeers(const Message& message) const {
    for (const std::unique_ptr<Peer>& peer : peers_) {
      [[maybe_unused]] const Status status = peer->connection->Send(message);
    }
  }

  // One part from each peer, once all have come.
  StatusOr<std::vector<std::string>> Take(std::chrono::milliseconds deadline) {
    std::unique_lock lock(mutex_);
    const auto missing = [&] {
      std::string ranks;
      for (const std::unique_ptr<Peer>& peer : peers_) {
        if (peer->received.empty()) ranks += fmt::format(" {}", peer->rank);
      }
      return ranks;
    };
    // Who left sends nothing any more.
    const auto left = [&] {
      for (const std::unique_ptr<Peer>& peer : peers_) {
        if (peer->received.empty() && peer->left) return peer->rank;
      }
      return -1;
    };
    changed_.wait_for(lock, deadline,
                      [&] { return missing().empty() || !Failure().ok() || left() >= 0; });
    TP_RETURN_IF_ERROR(Failure());
    if (const int rank = left(); rank >= 0) {
      return Aborted(fmt::format("rank {} ended while rank {} waited for it", rank, rank_));
    }
    if (const std::string ranks = missing(); !ranks.empty()) {
      return DeadlineExceeded(fmt::format(
          "waited {} ms for {}", deadline.count(),
          rank_ == 0 ? "rank(s)" + ranks + " to come" : "rank 0, which waits for all others"));
    }
    std::vector<std::string> parts;
    for (const std::unique_ptr<Peer>& peer : peers_) {
      parts.push_back(std::move(peer->received.front()));
      peer->received.pop_front();
    }
    return parts;
  }

  // The steps that each rank has begun, kEnded or kSilent. Rank 0 asks everyone, and the others ask
  // rank 0. An answer names its question: an old one may still be under way.
  std::vector<int64_t> Ask() const {
    const bool root = rank_ == 0;
    const int64_t question = ++questions_;
    SendToPeers({MessageType::kAsk, rank_, PackNumbers({question})});
    const auto has = [&](const std::unique_ptr<Peer>& peer) {
      return peer->answered >= question && peer->begun.size() == size_t(root ? 1 : world_);
    };
    std::unique_lock lock(mutex_);
    const auto known = [&](const std::unique_ptr<Peer>& peer) { return peer->left || has(peer); };
    changed_.wait_for(lock, (root ? 1 : 2) * kAnswerTakes, [&] {
      return std::ranges::all_of(peers_, known) || leaving_ || !Failure().ok();
    });
    if (!root && has(peers_[0])) return peers_[0]->begun;
    std::vector<int64_t> begun(world_, begun_.load());
    for (const std::unique_ptr<Peer>& peer : peers_) {
      begun[peer->rank] = peer->left ? kEnded : has(peer) ? peer->begun[0] : kSilent;
    }
    return begun;
  }

  // To the rank that asked; rank 0 asks the others first, for which it takes a thread: those who
  // read must go on.
  void Answer(Peer& peer, int64_t question) {
    if (rank_ != 0) {
      [[maybe_unused]] const Status sent = peer.connection->Send(
          {MessageType::kHere, rank_, PackNumbers({question, begun_.load()})});
      return;
    }
    std::lock_guard lock(mutex_);
    answering_.emplace_back([this, &peer, question] {
      std::vector<int64_t> answer = Ask();
      answer.insert(answer.begin(), question);
      [[maybe_unused]] const Status sent =
          peer.connection->Send({MessageType::kAll, 0, PackNumbers(answer)});
    });
  }

  // Others are told before this process knows, which may end as soon as it does.
  void Report(int rank, const Status& cause) {
    std::lock_guard reporting(report_mutex_);
    // Rank 0 tells everyone; the others tell rank 0 of themselves, or it told them.
    if (failure_.Named().ok() && (rank_ == 0 || rank == rank_)) {
      SendToPeers(FailedMessage(rank, cause));
    }
    failure_.Report(rank, cause);
    std::lock_guard lock(mutex_);
    changed_.notify_all();
  }

  // Keeps what came over a connection for those who wait for it.
  void Keep(Peer& peer, Message message) {
    std::lock_guard lock(mutex_);
    if (message.type == MessageType::kGoodbye) {
      peer.left = true;
    } else if (message.type == MessageType::kHere || message.type == MessageType::kAll) {
      const std::vector<int64_t> numbers = UnpackNumbers(message.bytes);
      if (numbers.empty() || numbers[0] < peer.answered) return;  // questions may change places
      peer.answered = numbers[0];
      peer.begun.assign(numbers.begin() + 1, numbers.end());
    } else {
      peer.received.push_back(std::move(message.bytes));
    }
    changed_.notify_all();
  }

  // A send that fails is a peer that is gone: Receive says so next.
  void Read(Peer& peer) {
    while (std::optional<Message> message = peer.connection->Receive()) {
      if (message->type == MessageType::kFailed) {
        Report(message->rank, CauseIn(*message));
      } else if (message->type == MessageType::kAsk) {
        const std::vector<int64_t> numbers = UnpackNumbers(message->bytes);
        if (!numbers.empty()) Answer(peer, numbers[0]);
      } else {
        Keep(peer, *std::move(message));
      }
    }
    bool left = false;
    {
      std::lock_guard lock(mutex_);
      left = peer.left || leaving_;
    }
    if (!left) Report(peer.rank, Internal("its process ended without a word, or was killed"));
  }

  const int rank_;
  const int world_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::atomic<int64_t> begun_ = 0;  // steps
  mutable std::atomic<int64_t> questions_ = 0;
  FirstFailure failure_;
  std::mutex report_mutex_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool leaving_ = false;                // guarded by mutex_
  std::vector<std::thread> answering_;  // likewise, but for the end
};

StatusOr<std::vector<std::unique_ptr<TcpConnection>>> AcceptAll(const TcpControlOptions& options) {
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<TcpListener> listener,
                      TcpListener::Listen(options.port));
  std::vector<std::unique_ptr<TcpConnection>> connections(options.world - 1);
  const auto until = Clock::now() + options.deadline;
  for (int come = 0; come < options.world - 1;) {
    std::unique_ptr<TcpConnection> connection = listener->Accept(until);
    if (connection == nullptr) {
      std::string missing;
      for (int rank = 1; rank < options.world; ++rank) {
        if (connections[rank - 1] == nullptr) missing += fmt::format(" {}", rank);
      }
      return DeadlineExceeded(fmt::format("rank 0 waited {} ms at port {} for rank(s){}",
                                          options.deadline.count(), options.port, missing));
    }
    connection->SetReceiveTimeout(std::chrono::seconds(2));
    const std::optional<Message> hello = connection->Receive();
    if (!hello || hello->type != MessageType::kHello) continue;  // a stranger
    if (hello->rank < 1 || hello->rank >= options.world || connections[hello->rank - 1] ||
        hello->bytes != std::to_string(options.world)) {
      return InvalidArgument(
          fmt::format("a process came as rank {} of {}; rank 0 waits for ranks 1 to {}, each once",
                      hello->rank, hello->bytes, options.world - 1));
    }
    connection->SetReceiveTimeout(std::chrono::seconds(0));
    connections[hello->rank - 1] = std::move(connection);
    ++come;
  }
  return connections;
}

}  // namespace

StatusOr<std::unique_ptr<Control>> ConnectTcpControl(const TcpControlOptions& options) {
  std::vector<std::unique_ptr<TcpConnection>> connections;
  if (options.rank == 0) {
    TP_ASSIGN_OR_RETURN(connections, AcceptAll(options));
  } else {
    TP_ASSIGN_OR_RETURN(std::unique_ptr<TcpConnection> connection,
                        TcpConnect(options.host, options.port, Clock::now() + options.deadline));
    TP_RETURN_IF_ERROR(
        connection->Send({MessageType::kHello, options.rank, std::to_string(options.world)}));
    connections.push_back(std::move(connection));
  }
  return std::unique_ptr<Control>(
      std::make_unique<TcpControl>(options.rank, options.world, std::move(connections)));
}

}  // namespace tp::nccl
