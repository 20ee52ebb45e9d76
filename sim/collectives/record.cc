#include "sim/collectives/record.h"

#include <glog/logging.h>
#include <sys/mman.h>

#include <span>

#include "sim/collectives/exchange.h"
#include "sim/fabric/endpoint.h"
#include "tp/core/dtype.h"

namespace tp::sim {
namespace {

class Recorder final : public Endpoint {
 public:
  Recorder(int member, int size, std::vector<Touch>& touches)
      : member_(member), size_(size), touches_(touches) {}

  int member() const override { return member_; }
  int size() const override { return size_; }
  int64_t bytes_sent() const override { return bytes_sent_; }

  Status Send(int to, std::span<const std::byte> data) override {
    bytes_sent_ += static_cast<int64_t>(data.size());
    return Add(Touch::Kind::kSend, to, data.size());
  }
  Status Recv(int from, std::span<std::byte> data) override {
    return Add(Touch::Kind::kReceive, from, data.size());
  }
  Status RecvReduce(int from, std::span<const std::byte>, std::span<std::byte> out, DType,
                    Reduction) override {
    return Add(Touch::Kind::kReceiveReduce, from, out.size());
  }
  void Copy(const std::byte* from, std::span<std::byte> to) override {
    if (from == to.data() || to.empty()) return;
    touches_.push_back({Touch::Kind::kCopy, -1, static_cast<int64_t>(to.size())});
  }
  void Reduce(std::span<const std::byte>, std::span<const std::byte>, std::span<std::byte> out,
              DType, Reduction) override {
    touches_.push_back({Touch::Kind::kReduce, -1, static_cast<int64_t>(out.size())});
  }
  Status Flush() override { return OkStatus(); }

 private:
  Status Add(Touch::Kind kind, int peer, size_t bytes) {
    touches_.push_back({kind, peer, static_cast<int64_t>(bytes)});
    return OkStatus();
  }

  const int member_;
  const int size_;
  std::vector<Touch>& touches_;
  int64_t bytes_sent_ = 0;
};

// Addresses that nobody may read or write: whoever touched memory past the endpoint would fault.
class Nowhere {
 public:
  explicit Nowhere(int64_t bytes) : bytes_(static_cast<size_t>(bytes) + 1) {
    void* begin =
        mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(begin != MAP_FAILED) << "no addresses for " << bytes << " bytes";
    begin_ = static_cast<std::byte*>(begin);
  }
  ~Nowhere() { munmap(begin_, bytes_); }
  Nowhere(const Nowhere&) = delete;
  Nowhere& operator=(const Nowhere&) = delete;

  std::byte* begin() const { return begin_; }

 private:
  size_t bytes_;
  std::byte* begin_ = nullptr;
};

}  // namespace

std::vector<std::vector<Touch>> Record(const CollectiveCall& call, Algorithm algorithm,
                                       int members) {
  std::vector<std::vector<Touch>> touches(members);
  if (members == 1) return touches;
  const Algorithm resolved = Resolve(call, algorithm, members);
  const int64_t bytes = TotalElements(call) * SizeOf(call.dtype);
  const Nowhere array(bytes), other(bytes), scratch(bytes);
  std::vector<int64_t> offsets;
  BlockOffsets(call, offsets);
  for (int member = 0; member < members; ++member) {
    Recorder recorder(member, members, touches[member]);
    Exchange x = {.endpoint = recorder,
                  .call = call,
                  .offsets = offsets,
                  .in = array.begin(),
                  .out = array.begin(),
                  .scratch = scratch.begin()};
    if (call.kind == CollectiveKind::kAllGather) x.in = array.begin() + offsets[member];
    if (call.kind == CollectiveKind::kReduceScatter) x.out = array.begin() + offsets[member];
    if (call.kind == CollectiveKind::kAllToAll) x.out = other.begin();
    const Status status = Carry(x, resolved);
    CHECK(status.ok()) << status.ToString();
  }
  return touches;
}

}  // namespace tp::sim
