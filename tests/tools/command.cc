#include "tests/tools/command.h"

#include <glog/logging.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace tp {

std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

void ExpectRefused(const CommandResult& result, const std::string& arguments,
                   const std::string& words) {
  EXPECT_EQ(result.exit_code, 1) << arguments << "\n" << result.err;
  EXPECT_NE(result.err.find(words), std::string::npos) << arguments << "\n" << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_EQ(result.out, "") << arguments;
}

std::string MakeScratchFolder() {
  const char* root = std::getenv("TEST_TMPDIR");
  std::string folder = std::string(root != nullptr ? root : "/tmp") + "/scratch.XXXXXX";
  CHECK(mkdtemp(folder.data()) != nullptr) << folder;
  return folder;
}

CommandResult RunCommand(const std::string& program, const std::string& arguments) {
  const std::string folder = MakeScratchFolder();
  const std::string command =
      program + " " + arguments + " >" + folder + "/out 2>" + folder + "/err </dev/null";
  const int status = std::system(command.c_str());
  // A shell reports a signal's end as 128 + its number.
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return {code >= 128 ? -1 : code, ReadWholeFile(folder + "/out"), ReadWholeFile(folder + "/err")};
}

}  // namespace tp
