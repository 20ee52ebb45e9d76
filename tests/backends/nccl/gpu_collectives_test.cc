// Each collective by NCCL, on all GPUs that there are, against plain loops: blocks of equal and of
// different lengths, empty ones, in place and not. At least 2 GPUs.
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "backends/nccl/collectives/collectives.h"
#include "backends/nccl/control/local_control.h"

namespace tp::nccl {
namespace {

constexpr std::chrono::milliseconds kDeadline(60000);
using Values = std::vector<double>;

// Small enough that a sum over members is exact in every type.
double ValueOf(int member, int64_t i) {
  return static_cast<double>((i * 7 + member * 3) % 29 - 14);
}

class Member {
 public:
  Member(Communicator& comm, cudaStream_t stream) : comm_(comm), stream_(stream) {}

  int rank() const { return comm_.rank(); }
  int size() const { return comm_.size(); }

  // Runs `call` on buffers of these contents; `send_at` >= 0 puts `send` there within the receive
  // buffer, instead of a buffer of its own; `receive_at` >= 0 likewise puts the received part there
  // within the send buffer. Returns the receive buffer.
  Values Run(const CollectiveCall& call, const Values& send, const Values& receive, int64_t send_at,
             int64_t receive_at) {
    char* s = Upload(call.dtype, send);
    char* r = Upload(call.dtype, receive);
    const int64_t width = SizeOf(call.dtype);
    const char* from = send_at < 0 ? s : r + send_at * width;
    char* to = receive_at < 0 ? r : s + receive_at * width;
    const Status status = EnqueueCollective(comm_, call, from, to, stream_);
    EXPECT_TRUE(status.ok()) << status.ToString();
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    const Values result = receive_at < 0
                              ? Download(call.dtype, r, receive.size())
                              : Download(call.dtype, s + receive_at * width, receive.size());
    cudaFree(s);
    cudaFree(r);
    return result;
  }

 private:
  static char* Upload(DType dtype, const Values& values) {
    std::vector<std::byte> bytes(values.size() * SizeOf(dtype));
    EncodeFromDouble(dtype, values, bytes);
    void* data = nullptr;
    EXPECT_EQ(cudaMalloc(&data, bytes.size() + 16), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return static_cast<char*>(data);
  }
  static Values Download(DType dtype, const char* data, size_t count) {
    std::vector<std::byte> bytes(count * SizeOf(dtype));
    EXPECT_EQ(cudaMemcpy(bytes.data(), data, bytes.size(), cudaMemcpyDeviceToHost), cudaSuccess);
    Values values(count);
    DecodeToDouble(dtype, bytes, values);
    return values;
  }

  Communicator& comm_;
  cudaStream_t stream_;
};

class GpuCollectives : public testing::Test {
 protected:
  void OnEachGpu(const std::function<void(Member&)>& body) {
    int gpus = 0;
    ASSERT_EQ(cudaGetDeviceCount(&gpus), cudaSuccess);
    ASSERT_GE(gpus, 2) << "these tests need two GPUs";
    const int world = gpus;
    const auto controls = MakeLocalControls(world);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < world; ++rank) {
      threads.emplace_back([&, rank] {
        ASSERT_EQ(cudaSetDevice(rank), cudaSuccess);
        auto comm = Communicator::OfWorld(*controls[rank], kDeadline);
        ASSERT_TRUE(comm.ok()) << comm.status().ToString();
        cudaStream_t stream = nullptr;
        ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
        Member member(**comm, stream);
        body(member);
        cudaStreamDestroy(stream);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // Lengths of blocks: equal, uneven, with empty ones, none at all.
  static std::vector<std::vector<int64_t>> Blocks(int members) {
    std::vector<std::vector<int64_t>> all = {std::vector<int64_t>(members, 1000),
                                             std::vector<int64_t>(members, 0)};
    std::vector<int64_t> uneven(members), some_empty(members);
    for (int i = 0; i < members; ++i) {
      uneven[i] = 1001 - i;
      some_empty[i] = i % 2 == 0 ? 0 : 7;
    }
    all.push_back(uneven);
    all.push_back(some_empty);
    return all;
  }
};

Values Part(int member, int64_t begin, int64_t count) {
  Values values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = ValueOf(member, begin + i);
  return values;
}

Values Summed(int members, int64_t begin, int64_t count) {
  Values sum(count);
  for (int m = 0; m < members; ++m) {
    const Values part = Part(m, begin, count);
    for (int64_t i = 0; i < count; ++i) sum[i] += part[i];
  }
  return sum;
}

TEST_F(GpuCollectives, AllReduce) {
  OnEachGpu([](Member& member) {
    for (DType dtype : kAllDTypes) {
      for (int64_t count : {0, 1, 5, 1000, 100003}) {
        const CollectiveCall call{CollectiveKind::kAllReduce, dtype, Reduction::kSum, 0, {count}};
        const Values mine = Part(member.rank(), 0, count);
        const Values expected = Summed(member.size(), 0, count);
        EXPECT_EQ(member.Run(call, mine, Values(count, 99), -1, -1), expected) << ToString(call);
        EXPECT_EQ(member.Run(call, mine, mine, 0, -1), expected) << "in place " << ToString(call);
      }
    }
  });
}

TEST_F(GpuCollectives, AllGather) {
  OnEachGpu([](Member& member) {
    for (DType dtype : kAllDTypes) {
      for (const std::vector<int64_t>& counts : Blocks(member.size())) {
        const CollectiveCall call{CollectiveKind::kAllGather, dtype, Reduction::kSum, 0, counts};
        Values expected;
        int64_t mine_at = 0;
        for (int m = 0; m < member.size(); ++m) {
          if (m == member.rank()) mine_at = static_cast<int64_t>(expected.size());
          const Values part = Part(m, 0, counts[m]);
          expected.insert(expected.end(), part.begin(), part.end());
        }
        const Values mine = Part(member.rank(), 0, counts[member.rank()]);
        Values whole(expected.size(), 99);
        EXPECT_EQ(member.Run(call, mine, whole, -1, -1), expected) << ToString(call);
        std::copy(mine.begin(), mine.end(), whole.begin() + mine_at);
        EXPECT_EQ(member.Run(call, mine, whole, mine_at, -1), expected)
            << "in place " << ToString(call);
      }
    }
  });
}

TEST_F(GpuCollectives, ReduceScatter) {
  OnEachGpu([](Member& member) {
    for (DType dtype : kAllDTypes) {
      for (const std::vector<int64_t>& counts : Blocks(member.size())) {
        const CollectiveCall call{CollectiveKind::kReduceScatter, dtype, Reduction::kSum, 0,
                                  counts};
        const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
        const int64_t mine_at =
            std::accumulate(counts.begin(), counts.begin() + member.rank(), int64_t{0});
        const int64_t mine = counts[member.rank()];
        const Values whole = Part(member.rank(), 0, total);
        const Values expected = Summed(member.size(), mine_at, mine);
        EXPECT_EQ(member.Run(call, whole, Values(mine, 99), -1, -1), expected) << ToString(call);
        EXPECT_EQ(member.Run(call, whole, Values(mine, 99), -1, mine_at), expected)
            << "in place " << ToString(call);
      }
    }
  });
}

TEST_F(GpuCollectives, Broadcast) {
  OnEachGpu([](Member& member) {
    for (DType dtype : kAllDTypes) {
      for (int root = 0; root < member.size(); ++root) {
        const CollectiveCall call{CollectiveKind::kBroadcast, dtype, Reduction::kSum, root, {1001}};
        EXPECT_EQ(member.Run(call, Part(member.rank(), 0, 1001), Values(1001, 99), -1, -1),
                  Part(root, 0, 1001));
      }
    }
  });
}

TEST_F(GpuCollectives, AllToAll) {
  OnEachGpu([](Member& member) {
    const int p = member.size();
    for (DType dtype : kAllDTypes) {
      CollectiveCall call{CollectiveKind::kAllToAll, dtype, Reduction::kSum, 0, {}};
      for (int i = 0; i < p * p; ++i) call.counts.push_back(i % 3 == 1 ? 0 : 5 + i);
      // Member i's bytes for j begin after those for the members before j.
      const auto begin = [&](int i, int j) {
        const auto row = call.counts.begin() + i * p;
        return std::accumulate(row, row + j, int64_t{0});
      };
      Values expected;
      for (int i = 0; i < p; ++i) {
        const Values part = Part(i, begin(i, member.rank()), call.counts[i * p + member.rank()]);
        expected.insert(expected.end(), part.begin(), part.end());
      }
      EXPECT_EQ(member.Run(call, Part(member.rank(), 0, begin(member.rank(), p)),
                           Values(expected.size(), 99), -1, -1),
                expected);
    }
  });
}

TEST_F(GpuCollectives, SplitsTalkAmongThemselves) {
  int gpus = 0;
  ASSERT_EQ(cudaGetDeviceCount(&gpus), cudaSuccess);
  ASSERT_GE(gpus, 2) << "these tests need two GPUs";
  const auto controls = MakeLocalControls(2);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      ASSERT_EQ(cudaSetDevice(rank), cudaSuccess);
      auto world = Communicator::OfWorld(*controls[rank], kDeadline);
      ASSERT_TRUE(world.ok()) << world.status().ToString();
      auto alone = (*world)->Split(rank, 0);
      ASSERT_TRUE(alone.ok()) << alone.status().ToString();
      EXPECT_EQ((*alone)->size(), 1);
      auto reversed = (*world)->Split(0, 1 - rank);
      ASSERT_TRUE(reversed.ok()) << reversed.status().ToString();
      EXPECT_EQ((*reversed)->size(), 2);
      EXPECT_EQ((*reversed)->rank(), 1 - rank);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// All members' bytes add up to the least that can be.
TEST(BytesSent, AddUp) {
  for (int members : {1, 2, 3, 4, 5, 8}) {
    std::vector<int64_t> uneven;
    for (int i = 0; i < members; ++i) uneven.push_back(10 - i);
    std::vector<int64_t> pairs;
    for (int i = 0; i < members * members; ++i) pairs.push_back(i % 4);
    const std::vector<CollectiveCall> calls = {
        {CollectiveKind::kAllReduce, DType::kFloat32, Reduction::kSum, 0, {1001}},
        {CollectiveKind::kAllGather, DType::kBFloat16, Reduction::kSum, 0, uneven},
        {CollectiveKind::kReduceScatter, DType::kFloat64, Reduction::kSum, 0, uneven},
        {CollectiveKind::kAllToAll, DType::kFloat32, Reduction::kSum, 0, pairs},
        {CollectiveKind::kBroadcast, DType::kFloat32, Reduction::kSum, 0, {7}}};
    for (const CollectiveCall& call : calls) {
      int64_t sum = 0;
      for (int i = 0; i < members; ++i) sum += BytesSent(call, members, i);
      EXPECT_EQ(sum, MinimalElementsSent(call, members) * SizeOf(call.dtype)) << ToString(call);
    }
  }
}

}  // namespace
}  // namespace tp::nccl
