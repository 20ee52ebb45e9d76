// What a run is told of its machine.

#include "tools/bench/machine.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tools/bench/engine_flags.h"

namespace tp::bench {
namespace {

using Variables = std::map<std::string, std::string>;

std::function<const char*(const char*)> From(const Variables& variables) {
  return [&variables](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

const Variables kTorchrun = {{"RANK", "1"},
                             {"WORLD_SIZE", "2"},
                             {"LOCAL_RANK", "1"},
                             {"LOCAL_WORLD_SIZE", "2"},
                             {"MASTER_ADDR", "localhost"},
                             {"MASTER_PORT", "29500"}};
const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "0"},
                            {"OMPI_COMM_WORLD_SIZE", "4"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "0"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}};

TEST(MachineTest, SaysThatAProcessIsOneOfSeveral) {
  BenchOptions options;
  options.tp = 1;
  const Machine machine = {.name = "", .processor = "", .cores = 8, .date = "", .load = 0};
  for (const Variables* variables : {&kTorchrun, &kOpenMpi}) {
    options.backend = "sim";
    EXPECT_EQ(WarningsBefore(options, machine, From(*variables)).size(), 1u);
    EXPECT_TRUE(RunsAlone(options, From(*variables)));
    options.backend = "nccl";
    EXPECT_TRUE(WarningsBefore(options, machine, From(*variables)).empty());
    EXPECT_FALSE(RunsAlone(options, From(*variables)));
  }
  EXPECT_TRUE(RunsAlone(options, From({})));
}

// Slurm on two machines says not where rank 0 is, and the processes are there all the same.
TEST(MachineTest, SaysSoOfAnEnvironmentThatIsNotEnoughToConnect) {
  BenchOptions options;
  options.backend = "sim";
  const Variables slurm = {{"SLURM_PROCID", "1"},
                           {"SLURM_STEP_NUM_TASKS", "4"},
                           {"SLURM_LOCALID", "1"},
                           {"SLURM_STEP_TASKS_PER_NODE", "2(x2)"}};
  for (const Variables& variables : {slurm, Variables{{"RANK", "1"}}}) {
    const auto warnings = WarningsOfLaunch(options, From(variables));
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_NE(warnings[0].find("each of them runs all ranks"), std::string::npos) << warnings[0];
  }
  EXPECT_TRUE(WarningsOfLaunch(options, From({})).empty());
  options.backend = "nccl";
  EXPECT_TRUE(WarningsOfLaunch(options, From(slurm)).empty());
}

TEST(MachineTest, SaysThatRanksOutnumberCores) {
  BenchOptions options;
  options.tp = 3;
  options.dp = 3;
  Machine machine = {.name = "", .processor = "", .cores = 8, .date = "", .load = 0};
  const auto warnings = WarningsBefore(options, machine, From({}));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].rfind("9 ranks share 8 cores", 0), 0u) << warnings[0];
  machine.cores = 9;
  EXPECT_TRUE(WarningsBefore(options, machine, From({})).empty());
}

TEST(MachineTest, SaysThatTheMachineIsBusy) {
  EXPECT_TRUE(WarningsAfter(std::nullopt).empty());
  EXPECT_TRUE(WarningsAfter(0.05).empty());
  ASSERT_EQ(WarningsAfter(0.37).size(), 1u);
  EXPECT_NE(WarningsAfter(0.37)[0].find("37 %"), std::string::npos);
}

TEST(MachineTest, KnowsThisMachine) {
  const Machine machine = ThisMachine();
  EXPECT_FALSE(machine.name.empty());
  EXPECT_GT(machine.cores, 0);
  EXPECT_EQ(machine.date.size(), 20u) << machine.date;
  const std::optional<double> share = OtherProcesses().Share();
  EXPECT_FALSE(share.has_value());  // no time has gone by
}

TEST(BytesTest, TakesUnits) {
  EXPECT_EQ(ParseBytes("0"), 0);
  EXPECT_EQ(ParseBytes("4096"), 4096);
  EXPECT_EQ(ParseBytes("12B"), 12);
  EXPECT_EQ(ParseBytes("64M"), 64 << 20);
  EXPECT_EQ(ParseBytes("64MB"), 64 << 20);
  EXPECT_EQ(ParseBytes("64k"), 64 << 10);
  EXPECT_EQ(ParseBytes("2KiB"), 2048);
  EXPECT_EQ(ParseBytes("3G"), int64_t{3} << 30);
  EXPECT_EQ(ParseBytes("1T"), int64_t{1} << 40);
  for (const char* text :
       {"", "M", "-1", "1.5M", "64Q", "64MM", "64 M", "9223372036854775808", "9000000T", "0x10"}) {
    EXPECT_FALSE(ParseBytes(text)) << text;
  }
}

}  // namespace
}  // namespace tp::bench
