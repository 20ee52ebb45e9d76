#include "tp/io/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace tp::io {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// An empty folder for each test.
class AtomicFileTest : public testing::Test {
 protected:
  AtomicFileTest() {
    std::string pattern = testing::TempDir() + "atomic_file_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~AtomicFileTest() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

  static std::string Contents(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }

  std::string folder_;
};

void ExpectError(const Status& status, StatusCode code, const std::string& path,
                 const std::string& reason) {
  EXPECT_EQ(status.code(), code) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(path));
  EXPECT_THAT(status.message(), HasSubstr(reason));
}

TEST_F(AtomicFileTest, WritesAndReplaces) {
  const std::string bytes("a\0b\n", 4);
  ASSERT_TRUE(WriteFileAtomically(Path("f"), bytes).ok());
  EXPECT_EQ(Contents(Path("f")), bytes);
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "").ok());
  EXPECT_EQ(Contents(Path("f")), "");
  EXPECT_THAT(Names(), ElementsAre("f"));
}

TEST_F(AtomicFileTest, TakesARelativePath) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  EXPECT_TRUE(CheckWritable("f").ok());
  EXPECT_TRUE(WriteFileAtomically("f", "x").ok());
  fs::current_path(before);
  EXPECT_EQ(Contents(Path("f")), "x");
}

TEST_F(AtomicFileTest, TakesTheLongestName) {
  const std::string name(255, 'n');
  ASSERT_TRUE(WriteFileAtomically(Path(name), "x").ok());
  EXPECT_THAT(Names(), ElementsAre(name));
  ExpectError(WriteFileAtomically(Path(name + "n"), "x"), StatusCode::kInvalidArgument, name,
              "File name too long");
}

TEST_F(AtomicFileTest, KeepsPermissionsAndLinks) {
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "old").ok());
  ASSERT_EQ(chmod(Path("f").c_str(), 0640), 0);
  fs::create_symlink("f", Path("link"));
  ASSERT_TRUE(WriteFileAtomically(Path("link"), "new").ok());
  EXPECT_TRUE(fs::is_symlink(Path("link")));
  EXPECT_EQ(Contents(Path("f")), "new");
  struct stat info;
  ASSERT_EQ(stat(Path("f").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST_F(AtomicFileTest, WritesThroughLinksThatLeadToNoFileYet) {
  ASSERT_TRUE(CreateDirectories(Path("deeper")).ok());
  fs::create_symlink("deeper/again", Path("link"));
  fs::create_symlink("f", Path("deeper/again"));
  ASSERT_TRUE(CheckWritable(Path("link")).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("link"), "new").ok());
  EXPECT_TRUE(fs::is_symlink(Path("link")));
  EXPECT_TRUE(fs::is_symlink(Path("deeper/again")));
  EXPECT_EQ(Contents(Path("deeper/f")), "new");
  fs::create_symlink("loop", Path("loop"));
  EXPECT_FALSE(WriteFileAtomically(Path("loop"), "new").ok());
}

TEST_F(AtomicFileTest, GivesANewFileTheUsualPermissions) {
  const mode_t mask = umask(022);
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "x").ok());
  umask(mask);
  struct stat info;
  ASSERT_EQ(stat(Path("f").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
}

// A limit on file sizes stands for a full disk: write fails after a part.
TEST_F(AtomicFileTest, LeavesNothingBehindWhereWritingFails) {
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "old").ok());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status replaced = WriteFileAtomically(Path("f"), std::string(5000, 'x'));
  const Status made = WriteFileAtomically(Path("g"), std::string(5000, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  ExpectError(replaced, StatusCode::kUnavailable, Path("f"), "File too large");
  ExpectError(made, StatusCode::kUnavailable, Path("g"), "File too large");
  EXPECT_THAT(Names(), ElementsAre("f"));
  EXPECT_EQ(Contents(Path("f")), "old");
}

TEST_F(AtomicFileTest, NamesWhatIsInTheWay) {
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "x").ok());
  const struct {
    std::string path;
    StatusCode code;
    std::string reason;
  } kCases[] = {
      {"", StatusCode::kInvalidArgument, "path is empty"},
      {folder_, StatusCode::kInvalidArgument, "is a folder"},
      {folder_ + "/", StatusCode::kInvalidArgument, "is a folder"},
      {Path("missing/g"), StatusCode::kNotFound, "missing: No such file or directory"},
      {Path("missing/"), StatusCode::kNotFound, "missing: No such file or directory"},
      {Path("f/g"), StatusCode::kInvalidArgument, "Not a directory"},
      {"/dev/full", StatusCode::kUnavailable, "No space left on device"},
      {"/sys/f", StatusCode::kInvalidArgument, "in folder /sys"},  // read-only, for root too
  };
  for (const auto& test_case : kCases) {
    SCOPED_TRACE(test_case.path);
    ExpectError(WriteFileAtomically(test_case.path, "x"), test_case.code, test_case.path,
                test_case.reason);
    if (test_case.path == "/dev/full") continue;  // only writing tells
    ExpectError(CheckWritable(test_case.path), test_case.code, test_case.path, test_case.reason);
  }
  EXPECT_THAT(Names(), ElementsAre("f"));
}

TEST_F(AtomicFileTest, CheckWritableTouchesNothing) {
  EXPECT_TRUE(CheckWritable(Path("new")).ok());
  EXPECT_THAT(Names(), IsEmpty());
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "old").ok());
  EXPECT_TRUE(CheckWritable(Path("f")).ok());
  EXPECT_EQ(Contents(Path("f")), "old");
  EXPECT_THAT(Names(), ElementsAre("f"));
}

TEST_F(AtomicFileTest, WritesStraightToWhatIsNoRegularFile) {
  EXPECT_TRUE(WriteFileAtomically("/dev/null", "x").ok());
  EXPECT_TRUE(fs::is_character_file("/dev/null"));

  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_TRUE(CheckWritable(Path("pipe")).ok());
  std::string read;
  std::thread reader([&] { read = Contents(Path("pipe")); });
  EXPECT_TRUE(WriteFileAtomically(Path("pipe"), "through").ok());
  reader.join();
  EXPECT_EQ(read, "through");
  EXPECT_THAT(Names(), ElementsAre("pipe"));
}

TEST_F(AtomicFileTest, WritesIntoItsOwnPipe) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string path = "/dev/fd/" + std::to_string(ends[1]);
  EXPECT_TRUE(CheckWritable(path).ok());
  const Status status = WriteFileAtomically(path, "through");
  EXPECT_TRUE(status.ok()) << status.ToString();
  char read_back[8] = {};
  EXPECT_EQ(read(ends[0], read_back, sizeof(read_back)), 7);
  EXPECT_STREQ(read_back, "through");
  close(ends[0]);
  close(ends[1]);
}

TEST_F(AtomicFileTest, AppendsToAnOwnDescriptor) {
  std::FILE* file = std::fopen(Path("f").c_str(), "w");
  ASSERT_NE(file, nullptr);
  std::fputs("before ", file);
  std::fflush(file);
  const std::string path = "/dev/fd/" + std::to_string(fileno(file));
  EXPECT_TRUE(CheckWritable(path).ok());
  EXPECT_TRUE(WriteFileAtomically(path, "after").ok());
  std::fputs(" and behind", file);
  std::fclose(file);
  EXPECT_EQ(Contents(Path("f")), "before after and behind");
}

TEST_F(AtomicFileTest, ManyWritersLeaveOneWholeFile) {
  std::vector<std::thread> writers;
  for (char letter : {'a', 'b', 'c', 'd'}) {
    writers.emplace_back([&, letter] {
      EXPECT_TRUE(WriteFileAtomically(Path("f"), std::string(100000, letter)).ok());
    });
  }
  for (std::thread& writer : writers) writer.join();
  const std::string contents = Contents(Path("f"));
  EXPECT_EQ(contents, std::string(100000, contents.at(0)));
  EXPECT_THAT(Names(), ElementsAre("f"));
}

TEST_F(AtomicFileTest, CreatesDirectories) {
  EXPECT_TRUE(CreateDirectories(Path("a/b/c")).ok());
  EXPECT_TRUE(fs::is_directory(Path("a/b/c")));
  EXPECT_TRUE(CreateDirectories(Path("a/b/c")).ok());
  EXPECT_TRUE(CreateDirectories(Path("a/b/d/")).ok());
  EXPECT_TRUE(fs::is_directory(Path("a/b/d")));
}

TEST_F(AtomicFileTest, NamesWhyADirectoryCannotBeMade) {
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "x").ok());
  ExpectError(CreateDirectories(""), StatusCode::kInvalidArgument, "folder", "empty");
  ExpectError(CreateDirectories(Path("f/a")), StatusCode::kInvalidArgument, Path("f/a"),
              Path("f") + " is not a folder");
  ExpectError(CreateDirectories("/sys/a/b"), StatusCode::kInvalidArgument, "/sys/a/b",
              "folder /sys/a cannot be made");
}

}  // namespace
}  // namespace tp::io
