// The environments that launchers make, read.
#include "backends/nccl/control/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace tp::nccl {
namespace {

using Variables = std::map<std::string, std::string>;

StatusOr<std::optional<LaunchEnvironment>> Read(const Variables& variables) {
  return ReadLaunchEnvironment([&](const char* name) -> const char* {
    const auto it = variables.find(name);
    return it == variables.end() ? nullptr : it->second.c_str();
  });
}

std::string ErrorOf(const Variables& variables) { return Read(variables).status().message(); }

TEST(Launch, NothingWithoutALauncher) {
  const auto read = Read({{"MASTER_PORT", "1"}, {"PATH", "/bin"}});
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_FALSE(read->has_value());
}

TEST(Launch, OneProcessIsNoLaunch) {
  const auto read = Read({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}, {"SLURM_LOCALID", "0"}});
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_FALSE(read->has_value());
}

TEST(Launch, Torchrun) {
  const auto read = Read({{"RANK", "5"},
                          {"WORLD_SIZE", "8"},
                          {"LOCAL_RANK", "1"},
                          {"MASTER_ADDR", "node0"},
                          {"MASTER_PORT", "29400"}});
  ASSERT_TRUE(read.ok() && *read) << read.status().ToString();
  EXPECT_EQ((**read).launcher, "torchrun");
  EXPECT_EQ((**read).rank, 5);
  EXPECT_EQ((**read).world, 8);
  EXPECT_EQ((**read).local_rank, 1);
  EXPECT_EQ((**read).host, "node0");
  EXPECT_EQ((**read).port, 29401);
}

TEST(Launch, OpenMpiOnOneMachineNeedsNoAddress) {
  const auto read = Read({{"OMPI_COMM_WORLD_RANK", "1"},
                          {"OMPI_COMM_WORLD_SIZE", "2"},
                          {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                          {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  ASSERT_TRUE(read.ok() && *read) << read.status().ToString();
  EXPECT_EQ((**read).launcher, "Open MPI");
  EXPECT_EQ((**read).host, "127.0.0.1");
  EXPECT_EQ((**read).port, 29501);
}

TEST(Launch, SlurmTakesTheStepsTasksBeforeTheJobs) {
  const auto read = Read({{"SLURM_PROCID", "3"},
                          {"SLURM_NTASKS", "16"},
                          {"SLURM_STEP_NUM_TASKS", "4"},
                          {"SLURM_LOCALID", "1"},
                          {"MASTER_ADDR", "n1"}});
  ASSERT_TRUE(read.ok() && *read) << read.status().ToString();
  EXPECT_EQ((**read).launcher, "Slurm");
  EXPECT_EQ((**read).world, 4);
  EXPECT_EQ((**read).rank, 3);
}

TEST(Launch, MpichOnOneMachineNeedsNoAddress) {
  const auto read = Read(
      {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}});
  ASSERT_TRUE(read.ok() && *read) << read.status().ToString();
  EXPECT_EQ((**read).launcher, "MPICH");
  EXPECT_EQ((**read).rank, 1);
  EXPECT_EQ((**read).world, 2);
  EXPECT_EQ((**read).local_rank, 1);
  EXPECT_EQ((**read).host, "127.0.0.1");
}

TEST(Launch, SeveralMachinesNeedAnAddress) {
  EXPECT_THAT(ErrorOf({{"OMPI_COMM_WORLD_RANK", "1"},
                       {"OMPI_COMM_WORLD_SIZE", "4"},
                       {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                       {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}}),
              testing::HasSubstr("MASTER_ADDR is not set"));
}

TEST(Launch, NamesWhatIsMissingOrWrong) {
  EXPECT_THAT(ErrorOf({{"RANK", "0"}}), testing::HasSubstr("WORLD_SIZE is not set"));
  EXPECT_THAT(ErrorOf({{"RANK", "2"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "0"}}),
              testing::HasSubstr("RANK is '2'; it must be a number from 0 to 1"));
  EXPECT_THAT(ErrorOf({{"RANK", "0"}, {"WORLD_SIZE", "two"}}),
              testing::HasSubstr("WORLD_SIZE is 'two'"));
  EXPECT_THAT(ErrorOf({{"RANK", "0"},
                       {"WORLD_SIZE", "2"},
                       {"LOCAL_RANK", "0"},
                       {"MASTER_ADDR", "a"},
                       {"MASTER_PORT", "70000"}}),
              testing::HasSubstr("MASTER_PORT is '70000'"));
}

}  // namespace
}  // namespace tp::nccl
