#include "tools/io/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/core/sanitized.h"
#include "tp/io/available_memory.h"

namespace tp::io {
namespace {

using testing::HasSubstr;

constexpr double kMiB = 1 << 20;

class MemoryTest : public testing::Test {
 protected:
  MemoryTest() : root_(testing::TempDir() + "/memory_test") {
    std::filesystem::remove_all(root_);
    Write("/proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable: 1024000 kB\n");
  }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }

  const std::string root_;
};

TEST_F(MemoryTest, IsTheMachinesWhereNothingElseLimits) {
  const auto memory = MemoryAvailable(root_);
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->bytes, 1000 * kMiB);
  EXPECT_EQ(memory->limited_by, "the machine");
}

TEST_F(MemoryTest, IsWhatTheCgroupLeavesWithWhatItCouldDrop) {
  Write("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n");
  Write("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "209715200\n");
  Write("/sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "104857600\n");
  Write("/sys/fs/cgroup/memory/a/b/memory.stat", "cache 9\ntotal_inactive_file 10485760\n");
  const auto memory = MemoryAvailable(root_);
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->bytes, 110 * kMiB);
  EXPECT_EQ(memory->limited_by, "the memory cgroup");
}

TEST_F(MemoryTest, AsksTheCgroupsAroundToo) {
  Write("/proc/self/cgroup", "0::/a/b\n");
  Write("/sys/fs/cgroup/a/b/memory.max", "max\n");
  Write("/sys/fs/cgroup/a/b/memory.current", "0\n");
  Write("/sys/fs/cgroup/a/memory.max", "52428800\n");
  Write("/sys/fs/cgroup/a/memory.current", "20971520\n");
  EXPECT_EQ(MemoryAvailable(root_)->bytes, 30 * kMiB);
}

TEST_F(MemoryTest, FindsTheRootOfAContainerThatSeesNoMore) {
  Write("/proc/self/cgroup", "0::/docker/0123\n");
  Write("/sys/fs/cgroup/memory.max", "52428800\n");
  Write("/sys/fs/cgroup/memory.current", "62428800\n");  // more than is allowed, for a moment
  EXPECT_EQ(MemoryAvailable(root_)->bytes, 0);
}

TEST_F(MemoryTest, IsWhatALimitOnTheProcessLeaves) {
  Write("/proc/self/status", "Name: x\nVmSize: 102400 kB\nVmData: 51200 kB\n");
  rlimit before = {};
  getrlimit(RLIMIT_DATA, &before);
  const rlimit limit = {rlim_t{150} << 20, before.rlim_max};
  setrlimit(RLIMIT_DATA, &limit);
  const auto memory = MemoryAvailable(root_);
  setrlimit(RLIMIT_DATA, &before);
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->bytes, 100 * kMiB);
  EXPECT_EQ(memory->limited_by, "the limit on data");
}

TEST_F(MemoryTest, RefusesWhatDoesNotFit) {
  EXPECT_TRUE(CheckFits(1, "a byte", "take none").ok());
  const Status status = CheckFits(1e18, "all the numbers", "take fewer");
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("all the numbers need about "));
  EXPECT_THAT(status.message(), HasSubstr("; take fewer"));
}

// Unasked, glibc gives no block a map of its own once a larger one was freed. A sanitizer's
// allocator has no such blocks.
TEST(ReturnFreedMemoryTest, ALargeBlockIsAMapOfItsOwnWhateverWasFreed) {
  ReturnFreedMemory();
  void* volatile block =
      std::malloc(24 << 20);  // volatile: else the compiler leaves both calls out
  std::free(block);
  const size_t maps = mallinfo2().hblks;
  block = std::malloc(16 << 20);
  EXPECT_EQ(mallinfo2().hblks, maps + (kSanitized ? 0 : 1));
  std::free(block);
  EXPECT_EQ(mallinfo2().hblks, maps);
}

}  // namespace
}  // namespace tp::io
