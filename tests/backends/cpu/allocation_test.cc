// A warm step allocates nothing, and a rank's buffers take what their plan says: counted, in the
// whole process, by standing in for the C library's functions. What the C library allocates within
// itself without these names is not seen.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "backends/cpu/backend.h"
#include "tests/backends/cpu/linear_schedules.h"
#include "tests/program/deep_chain.h"
#include "tp/passes/hide_communication.h"
#include "tp/schedule/lower.h"
#include "tp/schedule/memory.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int> allocations{0};
std::atomic<const char*> first_kind{nullptr};
// By size, of what was asked for on a page.
constexpr int kMostPaged = 64;
std::atomic<int> paged{0};
size_t paged_bytes[kMostPaged];

void Count(const char* kind) {
  if (!counting.load()) return;
  if (allocations.fetch_add(1) == 0) first_kind = kind;
}

}  // namespace

// operator new, the containers and the libraries come to these; glibc keeps its own under names
// with two underscores.
extern "C" {

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t size) noexcept {
  Count("malloc");
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) noexcept {
  Count("calloc");
  return __libc_calloc(count, size);
}

void* realloc(void* memory, size_t size) noexcept {
  Count("realloc");
  return __libc_realloc(memory, size);
}

void* memalign(size_t alignment, size_t size) noexcept {
  Count("memalign");
  return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) noexcept {
  Count("aligned_alloc");
  if (const int i = alignment == 4096 ? paged.fetch_add(1) : kMostPaged; i < kMostPaged) {
    paged_bytes[i] = size;
  }
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** memory, size_t alignment, size_t size) noexcept {
  Count("posix_memalign");
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}

void* mmap(void* address, size_t size, int protection, int flags, int file, off_t offset) noexcept {
  Count("mmap");
  return reinterpret_cast<void*>(syscall(SYS_mmap, address, size, protection, flags, file, offset));
}

}  // extern "C"

namespace tp::cpu {
namespace {

// A planted allocation of each kind, on another thread, is counted: so zero means none.
TEST(AllocationTest, EveryKindIsCounted) {
  const auto counted = [&](const auto& allocate) {
    allocations = 0;
    // A thread allocates while it starts; it counts once it runs.
    std::atomic<bool> started{false}, go{false};
    std::thread thread([&] {
      started = true;
      while (!go) std::this_thread::yield();
      allocate();
      go = false;
    });
    while (!started) std::this_thread::yield();
    counting = true;
    go = true;
    while (go) std::this_thread::yield();
    counting = false;
    thread.join();
    return allocations.load();
  };
  void* volatile memory = nullptr;  // so that the compiler drops no pair of allocation and free
  EXPECT_EQ(counted([&] { memory = std::malloc(100); }), 1);
  EXPECT_EQ(counted([&] { memory = std::realloc(memory, 200); }), 1);
  std::free(memory);
  EXPECT_EQ(counted([&] { memory = std::calloc(3, 100); }), 1);
  std::free(memory);
  EXPECT_EQ(counted([&] { memory = std::aligned_alloc(64, 128); }), 1);
  std::free(memory);
  EXPECT_EQ(counted([&] {
              void* aligned = nullptr;
              EXPECT_EQ(posix_memalign(&aligned, 64, 100), 0);
              memory = aligned;
            }),
            1);
  std::free(memory);
  EXPECT_EQ(counted([&] { memory = ::operator new(100); }), 1);
  ::operator delete(memory);
  EXPECT_EQ(counted([&] { memory = ::operator new(128, std::align_val_t(64)); }), 1);
  ::operator delete(memory, std::align_val_t(64));
  EXPECT_EQ(
      counted([&] { memory = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }),
      1);
  munmap(memory, 4096);
  EXPECT_EQ(counted([] {}), 0);
}

constexpr int kWarmSteps = 3;
constexpr int kSteps = 5;

// How often the ranks allocate from the first warm step on.
int CountSteps(const CpuBackendOptions& options, const LinearSpec& spec) {
  const std::vector<Schedule> schedules = MakeSchedules(spec);
  const std::unique_ptr<Backend> backend = MakeCpuBackend(options);
  allocations = 0;
  const Status status =
      backend->Run(static_cast<int>(schedules.size()), [&](RankContext& context) -> Status {
        const Schedule& schedule = schedules[context.rank()];
        TP_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor,
                            context.MakeExecutor(schedule));
        TP_RETURN_IF_ERROR(Feed(*executor, schedule));
        for (int step = 0; step < kWarmSteps + kSteps; ++step) {
          TP_RETURN_IF_ERROR(context.Barrier());
          if (step == kWarmSteps && context.rank() == 0) counting = true;
          TP_RETURN_IF_ERROR(context.Barrier());
          TP_RETURN_IF_ERROR(executor->EnqueueStep(StepKind::kWhole));
          TP_RETURN_IF_ERROR(executor->Synchronize());
        }
        TP_RETURN_IF_ERROR(context.Barrier());
        if (context.rank() == 0) counting = false;
        return context.Barrier();
      });
  counting = false;
  EXPECT_TRUE(status.ok()) << status.ToString();
  return allocations.load();
}

struct Size {
  int64_t tokens, in_features, out_features;
};

TEST(AllocationTest, AWarmStepAllocatesNothing) {
  for (SchedulerKind scheduler : {SchedulerKind::kSeeded, SchedulerKind::kFree}) {
    CpuBackendOptions options;
    options.scheduler = scheduler;
    for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
      for (DType dtype : kAllDTypes) {
        for (int dp : {1, 2}) {
          // A few, a vector, and one whose operands are beyond any stack.
          for (const auto& [m, k, n] : {Size{6, 10, 7}, Size{1, 300, 200}, Size{130, 300, 410}}) {
            SCOPED_TRACE(std::string(Name(mode)) + " " + std::string(Name(dtype)) + " dp " +
                         std::to_string(dp) + " tokens " + std::to_string(m) +
                         (scheduler == SchedulerKind::kFree ? " free" : " seeded"));
            const int count = CountSteps(options, {mode, dtype, m, k, n, /*tp=*/2, dp});
            EXPECT_EQ(count, 0) << "the first by " << first_kind.load();
          }
        }
      }
    }
  }
}

// Besides its arena a rank has at most one piece of memory, which kernels share as scratch.
TEST(AllocationTest, ARankAllocatesTheArenaThatWasPlanned) {
  const Mesh mesh = *Mesh::Create(3, 1);
  const Program program = MakeDeepChain({.layers = 6, .tokens = 40, .features = 100});
  Program hidden = program;
  HideCommunication(hidden, mesh, {.most_bytes = int64_t{1} << 30});
  ASSERT_NE(ToString(hidden), ToString(program));
  for (const auto& [step, keep] :
       {std::pair(&program, Keep::kNeeded), {&program, Keep::kAll}, {&hidden, Keep::kNeeded}}) {
    const std::vector<Schedule> schedules = *LowerAll(*step, mesh, {.keep = keep});
    std::multiset<size_t> planned;
    for (const Schedule& schedule : schedules) {
      const int64_t bytes = ArenaOf(schedule).bytes;
      EXPECT_EQ(bytes < BytesWithoutReuse(schedule), keep == Keep::kNeeded);
      planned.insert(static_cast<size_t>(bytes));
    }
    paged = 0;
    const Status status =
        MakeCpuBackend({})->Run(mesh.world(), [&](RankContext& context) -> Status {
          TP_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor,
                              context.MakeExecutor(schedules[context.rank()]));
          TP_RETURN_IF_ERROR(executor->EnqueueStep(StepKind::kWhole));
          return executor->Synchronize();
        });
    EXPECT_TRUE(status.ok()) << status.ToString();
    ASSERT_LE(paged, 2 * mesh.world());
    std::multiset<size_t> allocated(paged_bytes, paged_bytes + paged);
    for (size_t bytes : planned) {
      const auto found = allocated.find(bytes);
      ASSERT_NE(found, allocated.end()) << bytes;
      allocated.erase(found);
    }
    EXPECT_LE(static_cast<int>(allocated.size()), mesh.world());
  }
}

}  // namespace
}  // namespace tp::cpu
