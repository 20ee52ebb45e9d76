#include "tests/backends/nccl/workers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace tp::nccl {
namespace {

// Variables of this process, as long as it lives.
class Variables {
 public:
  explicit Variables(const std::map<std::string, std::string>& variables) {
    for (const auto& [name, value] : variables) {
      if (const char* before = std::getenv(name.c_str())) before_[name] = before;
      names_.push_back(name);
      setenv(name.c_str(), value.c_str(), /*overwrite=*/1);
    }
  }
  ~Variables() {
    for (const std::string& name : names_) {
      const auto before = before_.find(name);
      if (before == before_.end()) {
        unsetenv(name.c_str());
      } else {
        setenv(name.c_str(), before->second.c_str(), /*overwrite=*/1);
      }
    }
  }

 private:
  std::vector<std::string> names_;
  std::map<std::string, std::string> before_;
};

TEST(Workers, RunTheirTestWhateverThisRunWasTold) {
  const std::string output = testing::TempDir() + "/workers_test_output.xml";
  std::vector<std::map<std::string, std::string>> told = {
      {{"GTEST_OUTPUT", "xml:" + output}, {"XML_OUTPUT_FILE", output}},
      {{"TEST_PREMATURE_EXIT_FILE", output}},
      {{"TESTBRIDGE_TEST_ONLY", "Workers.*"}},
      {{"GTEST_REPEAT", "0"}},
      {{"RANK", "7"}, {"WORLD_SIZE", "1"}},
  };
  for (int shard = 0; shard < 4; ++shard) {
    told.push_back({{"GTEST_TOTAL_SHARDS", "4"}, {"GTEST_SHARD_INDEX", fmt::format("{}", shard)}});
  }
  for (const auto& variables : told) {
    SCOPED_TRACE(fmt::format("{}={}", variables.begin()->first, variables.begin()->second));
    const Variables here(variables);
    const auto workers = RunWorkers("Worker.DISABLED_SaysWhoItIs", 2, "WORKERS_TEST_MORE=more");
    for (int rank = 0; rank < 2; ++rank) {
      ExpectToHaveSaid(workers[rank], fmt::format("rank {} of 2, more, says so", rank));
    }
    EXPECT_FALSE(std::filesystem::exists(output));
  }
}

// The rest is run by the test above only.
TEST(Worker, DISABLED_SaysWhoItIs) {
  std::vector<std::string> said;
  for (const char* name : {"RANK", "WORLD_SIZE", "WORKERS_TEST_MORE"}) {
    const char* value = std::getenv(name);
    ASSERT_NE(value, nullptr) << name;
    said.emplace_back(value);
  }
  // Says of the process that started this one that it lives; googletest removes it at its end.
  const char* file = std::getenv("TEST_PREMATURE_EXIT_FILE");
  ASSERT_EQ(file, nullptr) << file;
  fmt::print("rank {} of {}, {}, says so\n", said[0], said[1], said[2]);
}

}  // namespace
}  // namespace tp::nccl
