// A prepared collective allocates nothing: counted, for each thread, in this program's own operator
// new.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <vector>

#include "tests/sim/harness.h"
#include "tp/core/dtype.h"

namespace {
thread_local int64_t allocations = 0;
}  // namespace

void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size); memory != nullptr) return memory;
  throw std::bad_alloc();
}
// Inlined without its other half, GCC 12 takes it for one that does not match.
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace tp::sim {
namespace {

void ExpectNoAllocations(Scheduler& scheduler, int world) {
  Fabric fabric(scheduler, world);
  std::vector<CollectiveCall> calls;
  for (CollectiveKind kind : kAllKinds) {
    calls.push_back(MakeCall(kind, DType::kFloat32, world, 1031, 2));
  }
  const auto statuses = RunRanks(scheduler, world, [&](int rank) -> Status {
    TP_ASSIGN_OR_RETURN(const auto communicator,
                        Communicator::Create(fabric, Ranks(world), rank, 1));
    std::vector<float> in(4096, 1), out(4096);
    for (const CollectiveCall& call : calls) {
      for (Algorithm algorithm : kAllAlgorithms) {
        TP_RETURN_IF_ERROR(communicator->Prepare(call, algorithm));
      }
    }
    for (const CollectiveCall& call : calls) {
      for (Algorithm algorithm : kAllAlgorithms) {
        const int64_t before = allocations;
        TP_RETURN_IF_ERROR(communicator->Run(call, algorithm, in.data(), out.data()));
        EXPECT_EQ(allocations - before, 0) << ToString(call) << " by " << Name(algorithm);
      }
    }
    return OkStatus();
  });
  for (const Status& status : statuses) EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST(AllocationTest, ThePreparedCollectiveAllocatesNothing) {
  for (int world : {1, 2, 5}) {
    ExpectNoAllocations(*MakeFreeScheduler({}), world);
  }
  EXPECT_GT(allocations, 0) << "the count does not work";
}

}  // namespace
}  // namespace tp::sim
