// `bench --profile` as a user runs it: its files, and that their times are those of the report.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tests/tools/command.h"
#include "tp/io/atomic_file.h"

namespace tp {
namespace {

using Json = nlohmann::json;

constexpr char kBench[] = "tools/bench/bench";
constexpr char kSmall[] = "--tokens=6 --in_features=7 --out_features=5 --steps=7 --warmup=1 ";
constexpr double kAgreement = 0.02;  // what is promised of a trace's sums
constexpr int kTraced = 5;

// The only file in a folder.
std::filesystem::path OnlyFile(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry);
  EXPECT_EQ(files.size(), 1u) << folder;
  return files.empty() ? std::filesystem::path() : files[0];
}

struct Times {
  double compute_ms = 0;
  double communication_ms = 0;
  double exposed_ms = 0;
};

// By phase, from the kernels of a trace: a mean over its steps.
std::map<std::string, Times> SumsOf(const Json& trace) {
  std::vector<std::pair<double, double>> computing;
  std::vector<Json> kernels;
  for (const Json& event : trace.at("traceEvents")) {
    if (event.at("ph") != "X" || event.at("cat") != "kernel") continue;
    kernels.push_back(event);
    if (event.at("args").contains("algorithm")) continue;
    const double begin = event.at("ts");
    computing.emplace_back(begin, begin + event.at("dur").get<double>());
  }
  std::map<std::string, Times> sums;
  for (const Json& kernel : kernels) {
    Times& times = sums[kernel.at("args").at("phase")];
    const double begin = kernel.at("ts");
    const double duration = kernel.at("dur");
    if (!kernel.at("args").contains("algorithm")) {
      times.compute_ms += duration / 1e3 / kTraced;
      continue;
    }
    double covered = 0;  // a worker computes one thing at a time
    for (const auto& [from, to] : computing) {
      covered += std::max(0.0, std::min(to, begin + duration) - std::max(from, begin));
    }
    times.communication_ms += duration / 1e3 / kTraced;
    times.exposed_ms += (duration - covered) / 1e3 / kTraced;
  }
  return sums;
}

void ExpectAgreement(double value, double reported, const std::string& what) {
  EXPECT_LE(std::abs(value - reported), kAgreement * reported)
      << what << ": " << value << " in the trace, " << reported << " in the report";
}

TEST(ProfileTest, TracesAgreeWithTheReport) {
  const std::string folder = MakeScratchFolder();
  const CommandResult result = RunCommand(
      kBench, fmt::format("{} --tp=3 --dp=2 --profile --trace_dir={} --json={}/bench.json", kSmall,
                          folder, folder));
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  const Json json = Json::parse(ReadWholeFile(folder + "/bench.json"));
  for (const Json& mode : json.at("results")) {
    const std::string name = mode.at("mode");
    EXPECT_EQ(mode.at("profile").at("steps"), 7);
    EXPECT_EQ(mode.at("profile").at("steps_traced"), kTraced);
    const double median = mode.at("profile").at("step_ms").at("median");
    EXPECT_EQ(mode.at("profile").at("overhead").get<double>(),
              median / mode.at("step_ms").at("median").get<double>() - 1);
    std::map<std::string, Times> mean;
    for (int rank = 0; rank < 6; ++rank) {
      const auto path = OnlyFile(fmt::format("{}/profiler_logs_rank_{}_{}", folder, rank, name));
      for (const auto& [phase, times] : SumsOf(Json::parse(ReadWholeFile(path)))) {
        mean[phase].compute_ms += times.compute_ms / 6;
        mean[phase].communication_ms += times.communication_ms / 6;
        mean[phase].exposed_ms += times.exposed_ms / 6;
      }
    }
    EXPECT_EQ(mean.size(), 4u);
    for (const auto& [phase, times] : mean) {
      const Json& reported = mode.at("profile").at("phases").at(phase);
      ExpectAgreement(times.compute_ms, reported.at("compute_ms"), name + " " + phase);
      ExpectAgreement(times.communication_ms, reported.at("communication_ms"), name + " " + phase);
      ExpectAgreement(times.exposed_ms, reported.at("exposed_communication_ms"),
                      name + " " + phase + " exposed");
    }
  }
}

TEST(ProfileTest, WritesAFileForEachRankAndModeAndOneFolderOfAll) {
  const std::string folder = MakeScratchFolder();
  const CommandResult result =
      RunCommand(kBench, fmt::format("{} --profile --trace_dir={}/new", kSmall, folder));
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("  profiled  median "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("; 5 traced to"), std::string::npos) << result.out;
  for (const std::string& said :
       {folder + "/new/profiler_logs_*_row\n", "next: tensorboard --logdir " + folder + "/new\n"}) {
    EXPECT_NE(result.out.find(said), std::string::npos) << result.out;
  }
  for (const char* mode : {"row", "column"}) {
    for (int rank = 0; rank < 2; ++rank) {
      const auto path =
          OnlyFile(fmt::format("{}/new/profiler_logs_rank_{}_{}", folder, rank, mode));
      // <host>_<process>.<time>: the plugin's own pattern.
      EXPECT_TRUE(std::regex_match(path.filename().string(),
                                   std::regex(R"(.+_[0-9]+\.[0-9]+\.pt\.trace\.json)")))
          << path;
      EXPECT_EQ(Json::parse(ReadWholeFile(path)).at("distributedInfo").at("rank"), rank);
    }
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(
             fmt::format("{}/new/profiler_logs_all_ranks_{}", folder, mode))) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    ASSERT_EQ(names.size(), 2u);
    EXPECT_NE(names[0].find("_0."), std::string::npos) << names[0];
    EXPECT_NE(names[1].find("_1."), std::string::npos) << names[1];
  }
}

TEST(ProfileTest, TracesGoToTheFolderOfTheUser) {
  const std::string folder = MakeScratchFolder();
  for (const auto& [flag, where] : {std::pair("", ""), {"--trace_dir=sub", "/sub"}}) {
    const CommandResult result =
        RunCommand("BUILD_WORKING_DIRECTORY=" + folder + " " + kBench,
                   fmt::format("{} --mode=row --profile {}", kSmall, flag));
    ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
    OnlyFile(folder + where + "/profiler_logs_rank_1_row");
  }
}

TEST(ProfileTest, NothingIsWrittenUnasked) {
  const std::string folder = MakeScratchFolder();
  const CommandResult result =
      RunCommand("BUILD_WORKING_DIRECTORY=" + folder + " " + kBench, kSmall);
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_EQ(result.out.find("profiled"), std::string::npos) << result.out;
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST(ProfileTest, RefusesWhatItCannotWrite) {
  const std::string folder = MakeScratchFolder();
  ASSERT_TRUE(io::WriteFileAtomically(folder + "/file", "x").ok());
  const auto refusal = [&](const std::string& flags) {
    const CommandResult result = RunCommand(kBench, WithUsual(kSmall, flags));
    EXPECT_EQ(result.exit_code, 1) << flags;
    EXPECT_EQ(result.out, "") << flags;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    return result.err;
  };
  EXPECT_NE(refusal(fmt::format("--profile --trace_dir={}/file", folder)).find(folder + "/file"),
            std::string::npos);
  EXPECT_NE(refusal("--trace_dir=/tmp").find("without --profile"), std::string::npos);
  EXPECT_NE(refusal("--profile --trace_dir=").find("--trace_dir=: it must be a folder"),
            std::string::npos);
}

}  // namespace
}  // namespace tp
