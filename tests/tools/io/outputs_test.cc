// What is written is there, or it is said that it is not.

#include "tools/io/outputs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace tp::io {
namespace {

TEST(OutputsTest, SaysThatADiskIsFull) {
  const int full = open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  Outputs outputs(full);
  outputs.Print("");
  EXPECT_TRUE(outputs.errors().empty());
  outputs.Print("text");
  outputs.Print("more");
  ASSERT_EQ(outputs.errors().size(), 1u);
  EXPECT_NE(outputs.errors()[0].message().find("the standard output"), std::string::npos);
  close(full);
}

TEST(OutputsTest, AReaderWhoLeavesIsNoError) {
  std::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Outputs outputs(ends[1]);
  outputs.Print("text");
  close(ends[0]);
  outputs.Print("more");
  EXPECT_TRUE(outputs.errors().empty());
  close(ends[1]);
}

TEST(OutputsTest, KeepsEveryFilesError) {
  Outputs outputs;
  outputs.Account(OkStatus());
  outputs.Account(NotFound("one"));
  outputs.Account(Unavailable("two"));
  ASSERT_EQ(outputs.errors().size(), 2u);
  EXPECT_EQ(outputs.errors()[0].message(), "one");
  EXPECT_EQ(outputs.errors()[1].message(), "two");
}

}  // namespace
}  // namespace tp::io
