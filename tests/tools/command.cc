#include "tests/tools/command.h"

#include <glog/logging.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "fmt/format.h"

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

CommandResult RunUntil(const std::string& words, const std::string& program,
                       const std::string& arguments) {
  const std::string out = MakeScratchFolder() + "/out";
  return RunCommand(
      "bash -c", fmt::format("'{} {} >{} & until grep -q \"{}\" {} || ! kill -0 $!; do sleep 0.01; "
                             "done; kill $!; wait $!; status=$?; cat {}; exit $status'",
                             program, arguments, out, words, out, out));
}

std::string WithUsual(const std::string& usual, const std::string& given) {
  const auto name_of = [](std::string word) {
    word = word.substr(0, word.find('='));
    return word.starts_with("--no") ? "--" + word.substr(4) : word;
  };
  std::set<std::string> names;
  std::istringstream words_given(given), words_usual(usual);
  for (std::string word; words_given >> word;) names.insert(name_of(word));
  std::string flags;
  for (std::string word; words_usual >> word;) {
    if (!names.contains(name_of(word))) flags += word + " ";
  }
  return flags + given;
}

}  // namespace tp
