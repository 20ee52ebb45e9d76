#include "tools/io/paths.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace tp::io {
namespace {

TEST(ResolvePathTest, StartsWhereTheUserIs) {
  ASSERT_EQ(setenv("BUILD_WORKING_DIRECTORY", "/home/user", 1), 0);
  EXPECT_EQ(ResolvePath("out.json"), "/home/user/out.json");
  EXPECT_EQ(ResolvePath("../out.json"), "/home/user/../out.json");
  EXPECT_EQ(ResolvePath("/tmp/out.json"), "/tmp/out.json");
  EXPECT_EQ(ResolvePath(""), "");
}

TEST(ResolvePathTest, LeavesPathsAloneOutsideBazel) {
  for (const char* folder : {"", static_cast<const char*>(nullptr)}) {
    if (folder == nullptr) {
      ASSERT_EQ(unsetenv("BUILD_WORKING_DIRECTORY"), 0);
    } else {
      ASSERT_EQ(setenv("BUILD_WORKING_DIRECTORY", folder, 1), 0);
    }
    EXPECT_EQ(ResolvePath("out.json"), "out.json");
    EXPECT_EQ(ResolvePath("/tmp/out.json"), "/tmp/out.json");
    EXPECT_EQ(ResolvePath(""), "");
  }
}

}  // namespace
}  // namespace tp::io
