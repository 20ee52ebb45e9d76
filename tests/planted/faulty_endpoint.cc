#include "tests/planted/faulty_endpoint.h"

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace tp::planted {
namespace {

class FaultyEndpoint final : public sim::Endpoint {
 public:
  FaultyEndpoint(std::unique_ptr<sim::Endpoint> endpoint, Combine combine, ChooseReceive chosen,
                 bool loses_message)
      : endpoint_(std::move(endpoint)),
        combine_(std::move(combine)),
        chosen_(std::move(chosen)),
        loses_message_(loses_message) {}

  int member() const override { return endpoint_->member(); }
  int size() const override { return endpoint_->size(); }
  Status Send(int to, std::span<const std::byte> data) override {
    if (loses_message_ && !data.empty()) {
      loses_message_ = false;
      return OkStatus();
    }
    return endpoint_->Send(to, data);
  }
  Status Recv(int from, std::span<std::byte> data) override { return endpoint_->Recv(from, data); }
  Status RecvReduce(int from, std::span<const std::byte> local, std::span<std::byte> out,
                    DType dtype, Reduction reduction) override {
    if (!chosen_ || !chosen_(member(), size(), receives_++)) {
      return endpoint_->RecvReduce(from, local, out, dtype, reduction);
    }
    std::vector<std::byte> message(local.size());
    TP_RETURN_IF_ERROR(endpoint_->Recv(from, message));
    std::vector<double> mine(local.size() / SizeOf(dtype));
    std::vector<double> theirs(mine.size());
    DecodeToDouble(dtype, local, mine);
    DecodeToDouble(dtype, message, theirs);
    for (size_t i = 0; i < mine.size(); ++i) mine[i] = combine_(mine[i], theirs[i]);
    EncodeFromDouble(dtype, mine, out);
    return OkStatus();
  }
  void Copy(const std::byte* from, std::span<std::byte> to) override { endpoint_->Copy(from, to); }
  void Reduce(std::span<const std::byte> a, std::span<const std::byte> b, std::span<std::byte> out,
              DType dtype, Reduction reduction) override {
    endpoint_->Reduce(a, b, out, dtype, reduction);
  }
  Status Flush() override { return endpoint_->Flush(); }
  int64_t bytes_sent() const override { return endpoint_->bytes_sent(); }

 private:
  const std::unique_ptr<sim::Endpoint> endpoint_;
  const Combine combine_;
  const ChooseReceive chosen_;
  bool loses_message_;
  int receives_ = 0;
};

}  // namespace

sim::Fabric::WrapEndpoint CombineBy(Combine combine, ChooseReceive chosen) {
  return [=](std::unique_ptr<sim::Endpoint> endpoint) -> std::unique_ptr<sim::Endpoint> {
    return std::make_unique<FaultyEndpoint>(std::move(endpoint), combine, chosen, false);
  };
}

sim::Fabric::WrapEndpoint LoseFirstMessage(int member) {
  return [=](std::unique_ptr<sim::Endpoint> endpoint) -> std::unique_ptr<sim::Endpoint> {
    const bool loses = endpoint->member() == member;
    return std::make_unique<FaultyEndpoint>(std::move(endpoint), nullptr, nullptr, loses);
  };
}

}  // namespace tp::planted
