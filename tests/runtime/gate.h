// A cable between ranks that a test may close for a while, or cut.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "backends/cpu/backend.h"
#include "sim/fabric/endpoint.h"
#include "tp/core/status.h"

namespace tp {

// Lets everything through until it is closed; then the messages of member 1 wait.
class Gate {
 public:
  class Endpoint final : public sim::Endpoint {
   public:
    Endpoint(Gate& gate, std::unique_ptr<sim::Endpoint> inner)
        : gate_(gate), inner_(std::move(inner)) {}

    int member() const override { return inner_->member(); }
    int size() const override { return inner_->size(); }
    Status Send(int to, std::span<const std::byte> data) override {
      if (member() == 1 && !data.empty()) {
        gate_.closed_.wait(true);
        if (gate_.cut_) return Internal("the cable is cut");
      }
      return inner_->Send(to, data);
    }
    Status Recv(int from, std::span<std::byte> data) override { return inner_->Recv(from, data); }
    Status RecvReduce(int from, std::span<const std::byte> local, std::span<std::byte> out,
                      DType dtype, Reduction reduction) override {
      return inner_->RecvReduce(from, local, out, dtype, reduction);
    }
    void Copy(const std::byte* from, std::span<std::byte> to) override { inner_->Copy(from, to); }
    void Reduce(std::span<const std::byte> a, std::span<const std::byte> b,
                std::span<std::byte> out, DType dtype, Reduction reduction) override {
      inner_->Reduce(a, b, out, dtype, reduction);
    }
    Status Flush() override { return inner_->Flush(); }
    int64_t bytes_sent() const override { return inner_->bytes_sent(); }

   private:
    Gate& gate_;
    const std::unique_ptr<sim::Endpoint> inner_;
  };

  cpu::CpuBackendOptions Options() {
    cpu::CpuBackendOptions options;
    options.wrap_endpoint = [this](std::unique_ptr<sim::Endpoint> inner) {
      return std::make_unique<Endpoint>(*this, std::move(inner));
    };
    return options;
  }

  void Close() { closed_ = true; }
  void Open() {
    closed_ = false;
    closed_.notify_all();
  }
  void Cut() { cut_ = true; }

 private:
  std::atomic<bool> closed_ = false;
  std::atomic<bool> cut_ = false;
};

}  // namespace tp
