// Attention by cuDNN and by the engine's own kernels: which takes what, and that a head's bits are
// those of the head alone.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/cudnn_library.h"
#include "backends/nccl/kernels/fused_call.h"
#include "tests/backends/nccl/device_memory.h"
#include "tp/core/random.h"

namespace tp::nccl {
namespace {

struct Sizes {
  int64_t batch, sequence, groups, per_group, size;
};

// Attention and its gradient of one set of operands.
class Attention {
 public:
  Attention(const Sizes& sizes, DType dtype, int64_t begin = 0) : sizes_(sizes), dtype_(dtype) {
    const auto [b, s, g, r, d] = sizes;
    op_.attributes.Set("scale", 0.125);
    op_.letters = {LetterPart{.letter = 'q', .begin = begin}};
    const auto queries = [&](uint64_t stream) { return Make({b, s, g, r, d}, dtype, stream); };
    const auto keys = [&](uint64_t stream) { return Make({b, s, g, d}, dtype, stream); };
    q_ = queries(1);
    k_ = keys(2);
    v_ = keys(3);
    o_ = queries(0);
    lse_ = Make({b, s, g, r}, DType::kFloat32, 0);
    dout_ = queries(4);
    dq_ = queries(0);
    dk_ = keys(0);
    dv_ = keys(0);
  }

  KernelCall Forward(int64_t first = 0, int64_t groups = -1) const {
    return Of({q_, k_, v_}, {o_, lse_}, first, groups);
  }
  KernelCall Backward(int64_t first = 0, int64_t groups = -1) const {
    return Of({q_, k_, v_, o_, lse_, dout_}, {dq_, dk_, dv_}, first, groups);
  }

  static void Run(const Kernel& kernel, KernelCall call) {
    const ScratchSize size = kernel.scratch(call);
    const Memory scratch(size.partial_bytes), counters(size.counters * 4);
    call.scratch = {scratch.data(), static_cast<unsigned*>(counters.data())};
    EXPECT_EQ(kernel.enqueue(call, nullptr), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }

  // All that is computed, one after the other; and zeros in its place.
  std::vector<std::byte> TakeOutputs() {
    std::vector<std::byte> all;
    for (const DeviceView* view : {&o_, &lse_, &dq_, &dk_, &dv_}) {
      const int64_t bytes = view->size() * SizeOf(view->dtype);
      all.resize(all.size() + bytes);
      EXPECT_EQ(cudaMemcpy(&*all.end() - bytes, view->data, bytes, cudaMemcpyDeviceToHost),
                cudaSuccess);
      EXPECT_EQ(cudaMemset(view->data, 0, bytes), cudaSuccess);
    }
    return all;
  }

 private:
  DeviceView Make(const Shape& shape, DType dtype, uint64_t stream) {
    std::vector<double> values(NumElements(shape));
    const RandomTensor random(/*seed=*/7, stream);
    for (size_t i = 0; i < values.size() && stream > 0; ++i) values[i] = random.Uniform(i);
    std::vector<std::byte> bytes(values.size() * SizeOf(dtype));
    EncodeFromDouble(dtype, values, bytes);
    memory_.push_back(std::make_unique<Memory>(bytes.size()));
    DeviceView view{memory_.back()->data(), dtype};
    EXPECT_EQ(cudaMemcpy(view.data, bytes.data(), bytes.size(), cudaMemcpyHostToDevice),
              cudaSuccess);
    auto stride = static_cast<int64_t>(values.size());
    for (int64_t size : shape) view.dims.push_back({size, stride /= size});
    return view;
  }

  // Of `groups` groups from `first` on, or all.
  KernelCall Of(const std::vector<DeviceView>& in, const std::vector<DeviceView>& out,
                int64_t first, int64_t groups) const {
    const auto part = [&](DeviceView view) {
      Dim& group = view.dims[2];
      view.data = static_cast<char*>(view.data) + first * group.stride * SizeOf(view.dtype);
      if (groups >= 0) group.size = groups;
      return view;
    };
    KernelCall call{.op = op_};
    for (const DeviceView& view : in) call.in.push_back(part(view));
    for (const DeviceView& view : out) call.out.push_back(part(view));
    return call;
  }

  Sizes sizes_;
  DType dtype_;
  ScheduledOp op_;
  std::vector<std::unique_ptr<Memory>> memory_;
  DeviceView q_, k_, v_, o_, lse_, dout_, dq_, dk_, dv_;
};

constexpr Sizes kTaken[] = {{2, 256, 2, 4, 128},
                            {1, 640, 6, 1, 64},
                            {3, 128, 2, 3, 64},
                            {1, 1024, 4, 2, 128},
                            {2, 128, 3, 2, 80}};
// Their gradients only by versions that need no lengths of sequences that tiles do not fill.
constexpr Sizes kUneven[] = {{1, 200, 4, 1, 64}, {3, 77, 2, 3, 64}, {1, 1000, 4, 2, 128}};

TEST(GpuAttention, IsCudnnsWhereThereIsOne) {
  std::string there;
  for (const std::string& file : CudnnCandidates()) {
    if (void* library = dlopen(file.c_str(), RTLD_NOW); library != nullptr) there += " " + file;
  }
  const size_t version = CudnnVersion();
  EXPECT_EQ(version == 0, there.empty()) << "not taken:" << there;
  std::cout << "Tested: "
            << (version == 0
                    ? std::string("no cuDNN on this machine, only the engine's own kernels")
                    : "cuDNN " + std::to_string(version))
            << std::endl;
  for (DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    for (const Sizes& sizes : kTaken) {
      const Attention attention(sizes, dtype);
      EXPECT_EQ(FusedCall(attention.Forward(), false).taken(), version > 0) << sizes.size;
      EXPECT_EQ(FusedCall(attention.Backward(), false).taken(), version > 0) << sizes.size;
    }
    for (const Sizes& sizes : kUneven) {
      const Attention attention(sizes, dtype);
      EXPECT_EQ(FusedCall(attention.Forward(), false).taken(), version > 0) << sizes.size;
      EXPECT_EQ(FusedCall(attention.Backward(), false).taken(), version > 91500) << sizes.size;
    }
  }
}

TEST(GpuAttention, IsItsOwnWhereCudnnMeansSomethingElse) {
  const Sizes sizes = kTaken[0];
  EXPECT_FALSE(FusedCall(Attention(sizes, DType::kFloat32).Forward(), false).taken());
  const Attention later(sizes, DType::kBFloat16, /*begin=*/8);
  EXPECT_FALSE(FusedCall(later.Forward(), false).taken());
  EXPECT_FALSE(FusedCall(later.Backward(), false).taken());
  const Attention attention(sizes, DType::kBFloat16);
  KernelCall invariant = attention.Forward();
  invariant.order = SumOrder::kInvariant;
  EXPECT_FALSE(FusedCall(invariant, false).taken());
  KernelCall fewer = attention.Forward();
  for (DeviceView* view : {&fewer.in[0], &fewer.out[0], &fewer.out[1]}) view->dims[1].size = 100;
  EXPECT_FALSE(FusedCall(fewer, false).taken());
  KernelCall odd = attention.Forward();
  odd.in[0].data = static_cast<char*>(odd.in[0].data) + 2;
  EXPECT_FALSE(FusedCall(odd, false).taken());
  const Attention large({1, 64, 1, 1, 136}, DType::kBFloat16);
  EXPECT_FALSE(FusedCall(large.Forward(), false).taken());
}

// With one group at a time, and with all of them.
void ExpectSameBitsByGroup(const Sizes& sizes, DType dtype, SumOrder order) {
  Attention attention(sizes, dtype);
  const auto run = [&](int64_t first, int64_t groups, bool backward) {
    KernelCall call =
        backward ? attention.Backward(first, groups) : attention.Forward(first, groups);
    call.order = order;
    Attention::Run(backward ? kAttentionGradKernel : kAttentionKernel, call);
  };
  run(0, sizes.groups, false);
  run(0, sizes.groups, true);
  const std::vector<std::byte> together = attention.TakeOutputs();
  for (int64_t first = 0; first < sizes.groups; ++first) run(first, 1, false);
  for (int64_t first = 0; first < sizes.groups; ++first) run(first, 1, true);
  const std::vector<std::byte> apart = attention.TakeOutputs();
  EXPECT_TRUE(together == apart) << sizes.sequence << " places, heads of " << sizes.size << " in "
                                 << Name(dtype);
  EXPECT_TRUE(together != attention.TakeOutputs()) << "nothing was computed";
}

TEST(GpuAttention, AHeadsBitsDoNotDependOnTheOthers) {
  for (DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    for (SumOrder order : {SumOrder::kFast, SumOrder::kInvariant}) {
      for (const Sizes& sizes : kTaken) ExpectSameBitsByGroup(sizes, dtype, order);
      for (const Sizes& sizes : kUneven) ExpectSameBitsByGroup(sizes, dtype, order);
    }
    // More tiles than a GPU has multiprocessors, and with one group fewer.
    ExpectSameBitsByGroup({1, 4096, 4, 4, 128}, dtype, SumOrder::kFast);
    ExpectSameBitsByGroup({1, 2048, 16, 1, 64}, dtype, SumOrder::kFast);
  }
}

}  // namespace
}  // namespace tp::nccl
