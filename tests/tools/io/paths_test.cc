#include "tools/io/paths.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "tests/tools/command.h"

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

// A folder with a file, links to it and to none, and a pipe.
std::string MakeFiles() {
  std::string folder = MakeScratchFolder();
  std::ofstream(folder + "/file") << "kept";
  std::filesystem::create_symlink("file", folder + "/to_file");
  std::filesystem::create_symlink("none", folder + "/to_none");
  std::filesystem::create_symlink(folder, folder + "/here");
  std::filesystem::create_hard_link(folder + "/file", folder + "/other");
  EXPECT_EQ(mkfifo((folder + "/fifo").c_str(), 0600), 0);
  return folder + "/";
}

TEST(CheckDistinctTest, RefusesAnOutputThatIsAnInput) {
  const std::string folder = MakeFiles();
  for (const char* name : {"file", "./file", "to_file", "other", "here/here/file"}) {
    const Status status = CheckDistinct({{"--json", ""}, {"--log", folder + name}},
                                        {{"--hf", ""}, {"--text", folder + "file"}});
    EXPECT_EQ(status.message(), "--log would overwrite " + folder + name +
                                    ", which --text names, too; give it another file");
  }
}

TEST(CheckDistinctTest, RefusesAnOutputThatIsAnother) {
  const std::string folder = MakeFiles();
  for (const auto& [first, second] :
       {std::pair("file", "to_file"), std::pair("file", "other"), std::pair("none", "none"),
        std::pair("none", "a/../none"), std::pair("none", "to_none"),
        std::pair("none", "here/none")}) {
    const Status status =
        CheckDistinct({{"--json", folder + first}, {"--log", folder + second}}, {});
    EXPECT_EQ(status.message(), "--json and --log both name " + folder + second +
                                    ", where one would overwrite the other; give each its own file")
        << first;
  }
  // Relative to where the program is, or not.
  const std::string here = std::filesystem::current_path().string() + "/none";
  EXPECT_FALSE(CheckDistinct({{"--json", "none"}, {"--log", here}}, {}).ok());
}

TEST(CheckDistinctTest, RefusesAFileWhereAFolderIsNeeded) {
  const std::string none = MakeFiles() + "none";
  const NamedFile file = {"--json", none}, below = {"--dump", none + "/row/w.npy"};
  for (const auto& [first, second] : {std::pair(file, below), std::pair(below, file)}) {
    const Status status = CheckDistinct({first, second}, {});
    EXPECT_EQ(status.message().find("--json and --dump both name " + none + ","), 0u)
        << status.message();
  }
}

TEST(CheckDistinctTest, TakesOthersAndStreams) {
  const std::string folder = MakeFiles();
  const std::string fifo = folder + "fifo";
  for (const char* path : {"/dev/null", "/dev/stdout", "/dev/fd/2", fifo.c_str()}) {
    const Status status = CheckDistinct({{"--json", path}, {"--log", path}}, {{"--text", path}});
    EXPECT_TRUE(status.ok()) << status.message();
  }
  const NamedFile file = {"--text", folder + "file"};
  const Status status = CheckDistinct({{"--json", folder + "none"},
                                       {"--log", folder + "nothing"},
                                       {"--dump", folder + "new/row/w.npy"},
                                       {"--dump", folder + "new/row/b.npy"}},
                                      {file, file});
  EXPECT_TRUE(status.ok()) << status.message();
}

}  // namespace
}  // namespace tp::io
