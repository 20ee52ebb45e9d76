#include "sim/collectives/record.h"

#include <glog/logging.h>

#include <cstdint>
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

// Addresses where a process has no memory, array by array: whoever touched memory past the endpoint
// would fault. They are not asked for, as no limit on a process allows so many.
std::byte* Nowhere(int array, int64_t bytes) {
  constexpr int kBitsOfArray = 52;
  CHECK(bytes >> kBitsOfArray == 0) << bytes;
  constexpr uintptr_t kBeyondUsers = uintptr_t{1} << 55;
  return reinterpret_cast<std::byte*>(kBeyondUsers +
                                      (static_cast<uintptr_t>(array) << kBitsOfArray));
}

}  // namespace

std::vector<std::vector<Touch>> Record(const CollectiveCall& call, Algorithm algorithm,
                                       int members) {
  std::vector<std::vector<Touch>> touches(members);
  if (members == 1) return touches;
  const Algorithm resolved = Resolve(call, algorithm, members);
  const int64_t bytes = TotalElements(call) * SizeOf(call.dtype);
  std::byte* const array = Nowhere(0, bytes);
  std::byte* const other = Nowhere(1, bytes);
  std::byte* const scratch = Nowhere(2, bytes);
  std::vector<int64_t> offsets;
  BlockOffsets(call, offsets);
  for (int member = 0; member < members; ++member) {
    Recorder recorder(member, members, touches[member]);
    Exchange x = {.endpoint = recorder,
                  .call = call,
                  .offsets = offsets,
                  .in = array,
                  .out = array,
                  .scratch = scratch};
    if (call.kind == CollectiveKind::kAllGather) x.in = array + offsets[member];
    if (call.kind == CollectiveKind::kReduceScatter) x.out = array + offsets[member];
    if (call.kind == CollectiveKind::kAllToAll) x.out = other;
    const Status status = Carry(x, resolved);
    CHECK(status.ok()) << status.ToString();
  }
  return touches;
}

}  // namespace tp::sim
